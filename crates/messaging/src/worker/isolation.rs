//! A suspect runs alone in its process: a job that was running when a process died, and may have killed it.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Which jobs of a process may run at the same time: any number, or one suspect. The workers of all queues share it, because
/// they die together.
#[derive(Debug, Clone, Default)]
pub struct Isolation(Arc<RwLock<()>>);

/// The right to run, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _beside_others: Option<OwnedRwLockReadGuard<()>>,
    _alone: Option<OwnedRwLockWriteGuard<()>>,
}

impl Isolation {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until the job may run. The turns are taken in the order in which they were asked for, so a suspect waits for the
    /// jobs that run, and later jobs wait for the suspect.
    pub(super) async fn turn(&self, alone: bool) -> Turn {
        if alone {
            Turn { _beside_others: None, _alone: Some(Arc::clone(&self.0).write_owned().await) }
        } else {
            Turn { _beside_others: Some(Arc::clone(&self.0).read_owned().await), _alone: None }
        }
    }

    /// Whether a suspect runs, or waits to run.
    pub(super) fn is_occupied(&self) -> bool {
        self.0.try_read().is_err()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_suspect_waits_for_the_jobs_that_run_and_later_jobs_wait_for_it() {
        let isolation = Isolation::new();
        let first = poll(pin!(isolation.turn(false))).expect("nothing runs");
        let second = poll(pin!(isolation.turn(false))).expect("only an ordinary job runs");
        assert!(!isolation.is_occupied());
        let mut suspect = pin!(isolation.turn(true));
        assert!(poll(suspect.as_mut()).is_none() && isolation.is_occupied());
        let mut later = pin!(isolation.turn(false));
        assert!(poll(later.as_mut()).is_none());
        drop(first);
        assert!(poll(suspect.as_mut()).is_none());
        drop(second);
        let alone = poll(suspect.as_mut()).expect("it is alone");
        assert!(poll(later.as_mut()).is_none() && isolation.is_occupied());
        drop(alone);
        assert!(poll(later.as_mut()).is_some());
    }
}
