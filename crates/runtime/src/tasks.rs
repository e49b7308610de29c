//! The background services of a process: they start together, stop together, and none can die unnoticed.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns the process's background tasks.
///
/// A task that returns or panics before [`shutdown`](Self::shutdown) is cancelled stops the whole process: a process
/// that answers `/health` while one of its services is dead is worse than one that restarts.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Every task stops when this is cancelled. Cancelling it stops the process.
    pub shutdown: CancellationToken,
    tracker: TaskTracker,
    failed: Arc<AtomicBool>,
}

/// How a task's future may end: `()`, or a result whose error is logged.
pub trait Ending: Send + 'static {
    fn error(self) -> Option<String>;
}

impl Ending for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Display + Send + 'static> Ending for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| format!("{error:#}"))
    }
}

impl Tasks {
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, tracker: TaskTracker::new(), failed: Arc::default() }
    }

    /// Runs `future`, which should only end once `shutdown` is cancelled.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        let failed = Arc::clone(&self.failed);
        self.tracker.spawn(async move {
            let how = match AssertUnwindSafe(future).catch_unwind().await {
                Ok(ending) => ending.error(),
                Err(panic) => Some(format!("panicked: {}", panic_message(panic.as_ref()))),
            };
            if how.is_none() && shutdown.is_cancelled() {
                tracing::debug!(task = name, "task stopped");
                return;
            }
            let why = how.as_deref().unwrap_or("returned before the process was told to stop");
            tracing::error!(task = name, error = why, "task ended; the process stops");
            failed.store(true, Ordering::Release);
            shutdown.cancel();
        });
    }

    /// Cancels `shutdown` and waits for every task, for at most `at_most`.
    ///
    /// # Errors
    /// When a task failed or did not stop in time: the process must not exit with 0.
    pub async fn drain(self, at_most: Duration) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.tracker.close();
        if tokio::time::timeout(at_most, self.tracker.wait()).await.is_err() {
            anyhow::bail!("{} task(s) did not stop within {at_most:?}", self.tracker.len());
        }
        anyhow::ensure!(!self.failed.load(Ordering::Acquire), "a task failed, see the log");
        Ok(())
    }
}

/// The message of a panic.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn tasks_that_stop_when_asked_drain_cleanly() {
        let tasks = Tasks::new(CancellationToken::new());
        let shutdown = tasks.shutdown.clone();
        tasks.spawn("obedient", async move { shutdown.cancelled().await });
        tasks.drain(SOON).await.expect("clean");
    }

    #[tokio::test]
    async fn a_task_that_returns_early_stops_the_process() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("early", async {});
        tokio::time::timeout(SOON, tasks.shutdown.cancelled()).await.expect("cancelled");
        assert!(tasks.drain(SOON).await.is_err());
    }

    #[tokio::test]
    async fn a_task_that_panics_or_errs_stops_the_process() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("clumsy", async { assert!(std::env::args().count() == 0, "dropped it") });
        tokio::time::timeout(SOON, tasks.shutdown.cancelled()).await.expect("cancelled");
        assert!(tasks.drain(SOON).await.is_err());

        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("unlucky", async { Err::<(), _>("no luck") });
        tokio::time::timeout(SOON, tasks.shutdown.cancelled()).await.expect("cancelled");
        assert!(tasks.drain(SOON).await.is_err());
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_not_waited_for_forever() {
        let tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("deaf", std::future::pending::<()>());
        assert!(tasks.drain(Duration::from_millis(20)).await.is_err());
    }
}
