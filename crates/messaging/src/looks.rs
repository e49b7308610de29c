//! Lower bounds for loops that ask often what is due.
//!
//! What is settled keeps its entries in an index for as long as someone's snapshot is open, and some of it longer. A loop that began
//! at the oldest entry would walk over all of them each time. So it begins at a bound, which a look at everything sets now and
//! then. What a transaction of more than [`COMMITS_WITHIN`] adds below the bound, and what a clock adds that was set back, waits for the
//! next such look.

use std::time::{Duration, Instant};

/// How long a transaction takes that makes something due.
pub const COMMITS_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at everything.
const EVERY: Duration = Duration::from_secs(5);
/// The looks take at most one second in so many.
const SHARE: u32 = 20;
/// Also after one that took as long as a statement may.
const AT_MOST: Duration = Duration::from_secs(10 * 60);
/// From the start of one that was dropped.
const DROPPED: Duration = Duration::from_secs(60);

/// When to look at everything again.
#[derive(Debug, Default)]
pub struct Looks {
    next: Option<Instant>,
}

impl Looks {
    /// Takes the look, if it is time to. `None`: it is not.
    pub async fn take<T>(&mut self, look: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<Option<T>> {
        let started = Instant::now();
        if self.next.is_some_and(|next| started < next) {
            return Ok(None);
        }
        // A look that is dropped, because the database does not answer, does not come again at once.
        self.next = Some(started + DROPPED);
        let seen = look.await;
        self.next = Some(Instant::now() + (started.elapsed() * SHARE).clamp(EVERY, AT_MOST));
        seen.map(Some)
    }
}
