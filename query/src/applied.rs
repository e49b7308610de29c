//! How the projector of this process tells waiting requests what has just become visible.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

/// Batches that a slow listener may fall behind before it is told only that it missed something.
const BACKLOG: usize = 64;

/// Announces the orders and returns of each committed batch; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Applied(broadcast::Sender<Arc<HashSet<Uuid>>>);

impl Applied {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    /// To be called after the commit. When nobody listens nothing is built: whoever begins to listen later
    /// looks into the database first and finds the batch there.
    pub(crate) fn announce(&self, documents: impl FnOnce() -> HashSet<Uuid>) {
        if self.0.receiver_count() > 0 {
            // The last listener may have gone in this instant.
            let _nobody_listens = self.0.send(Arc::new(documents()));
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
    pub(crate) async fn heard_of(&mut self, ids: &HashSet<Uuid>) {
        loop {
            match self.0.recv().await {
                Ok(batch) if batch.is_disjoint(ids) => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                // No projector in this process: the caller polls.
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
    async fn a_listener_is_woken_by_its_own_documents_only() {
        let applied = Applied::new();
        let mut listener = applied.listen();
        let mine = HashSet::from([id(1), id(2)]);
        applied.announce(|| HashSet::from([id(3)]));
        let mut waiting = std::pin::pin!(listener.heard_of(&mine));
        tokio::select! {
            biased;
            () = &mut waiting => panic!("woken by another document"),
            () = tokio::task::yield_now() => {}
        }
        applied.announce(|| HashSet::from([id(2), id(4)]));
        waiting.await;
    }

    #[tokio::test]
    async fn a_listener_that_fell_behind_looks_again() {
        let applied = Applied::new();
        let mut listener = applied.listen();
        for _ in 0..=BACKLOG {
            applied.announce(|| HashSet::from([id(3)]));
        }
        listener.heard_of(&HashSet::from([id(1)])).await;
    }

    #[test]
    fn nothing_is_built_when_nobody_listens() {
        Applied::new().announce(|| unreachable!("there is no listener"));
    }
}
