//! Waits for a condition, with a deadline.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Generous, because only a failing test reaches it and other tests may keep the machine busy.
pub const SOON: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Polls `look` until it returns `Some`, and returns the value.
///
/// # Errors
/// When `look` fails, or the deadline passes.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if started.elapsed() > deadline {
            bail!("not within {deadline:?}: {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Polls `look` until it returns `wanted`. The error contains the last value.
pub async fn eventually_equal<T: PartialEq + Debug>(
    what: &str,
    deadline: Duration,
    wanted: T,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let seen = look().await?;
        if seen == wanted {
            return Ok(());
        }
        if started.elapsed() > deadline {
            bail!("not within {deadline:?}: {what}: {seen:?} instead of {wanted:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}
