//! When a worker looks for jobs again.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Outcome;

/// Jobs that end within this time after another one make room for one claim.
const GATHER: Duration = Duration::from_millis(1);

/// When to look for jobs again, if no hint comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextLook {
    pub(super) at: Instant,
    /// Also when a job is done: there are more, or its end makes others due. What fails may be due at once in any case.
    pub(super) after_a_job: bool,
}

/// Whether a job, and all that end soon after it, are done: one claim for many jobs instead of one for each.
pub(super) async fn all_done(first: Result<Outcome, JoinError>, running: &mut JoinSet<Outcome>) -> bool {
    let mut all_done = is_done(&first);
    let others = async {
        while let Some(ended) = running.join_next().await {
            all_done &= is_done(&ended);
        }
    };
    let _elapsed = tokio::time::timeout(GATHER, others).await;
    all_done
}

fn is_done(ended: &Result<Outcome, JoinError>) -> bool {
    matches!(ended, Ok(Outcome::Done))
}
