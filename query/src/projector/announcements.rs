//! Wakes the requests of this process that wait for an order or return, when the projector has committed it.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

/// Batches that are kept for a slow listener. A listener that falls further behind only learns that it missed some.
const BACKLOG: usize = 64;

/// Announces the orders and returns of each committed batch; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Announcements(broadcast::Sender<Arc<HashSet<Uuid>>>);

impl Announcements {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    /// Call this after the commit. Without a listener, `documents` is not called: a request that starts to listen later
    /// reads the database first and finds the batch there.
    pub(super) fn send(&self, documents: impl FnOnce() -> HashSet<Uuid>) {
        if self.0.receiver_count() > 0 {
            // The last listener may have left since the check.
            let _no_listener = self.0.send(Arc::new(documents()));
        }
    }

    pub(crate) fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// One waiting request.
#[derive(Debug)]
pub(crate) struct Listener(broadcast::Receiver<Arc<HashSet<Uuid>>>);

impl Listener {
    /// Returns once a batch with one of these orders or returns has been applied, or may have been.
    pub(crate) async fn wait_for_any(&mut self, ids: &HashSet<Uuid>) {
        loop {
            match self.0.recv().await {
                Ok(batch) if batch.is_disjoint(ids) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                // This process runs no projector: the caller polls.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[tokio::test]
    async fn a_listener_is_woken_only_by_its_own_documents() {
        let announcements = Announcements::new();
        let mut listener = announcements.listen();
        let mine = HashSet::from([id(1), id(2)]);
        announcements.send(|| HashSet::from([id(3)]));
        let mut waiting = std::pin::pin!(listener.wait_for_any(&mine));
        tokio::select! {
            biased;
            () = &mut waiting => panic!("woken by another document"),
            () = tokio::task::yield_now() => {}
        }
        announcements.send(|| HashSet::from([id(2), id(4)]));
        waiting.await;
    }

    #[tokio::test]
    async fn a_listener_that_fell_behind_is_woken() {
        let announcements = Announcements::new();
        let mut listener = announcements.listen();
        for _ in 0..=BACKLOG {
            announcements.send(|| HashSet::from([id(3)]));
        }
        listener.wait_for_any(&HashSet::from([id(1)])).await;
    }

    #[test]
    fn nothing_is_built_without_a_listener() {
        Announcements::new().send(|| unreachable!("there is no listener"));
    }
}
