//! Tells when the projector of this process has committed an order or return that a request waits for.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

/// The orders and returns that are awaited; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Announcements(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How many requests await each.
    awaited: Mutex<HashMap<Uuid, usize>>,
    news: Notify,
}

impl Announcements {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Call this after the commit. While nothing is awaited, `documents` is not called.
    pub(super) fn send(&self, documents: impl FnOnce() -> HashSet<Uuid>) {
        let awaited = self.awaited();
        if !awaited.is_empty() && documents().iter().any(|id| awaited.contains_key(id)) {
            self.0.news.notify_one();
        }
    }

    /// Awaits these orders and returns until the guard is dropped. That is news too: what was committed before is not
    /// announced again.
    pub(crate) fn await_any(&self, ids: Vec<Uuid>) -> Awaited {
        let mut awaited = self.awaited();
        for id in &ids {
            *awaited.entry(*id).or_default() += 1;
        }
        drop(awaited);
        self.0.news.notify_one();
        Awaited { announcements: self.clone(), ids }
    }

    /// Returns once there is news, also if that came since the last call.
    pub(crate) async fn news(&self) {
        self.0.news.notified().await;
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.0.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one request awaits.
#[derive(Debug)]
pub(crate) struct Awaited {
    announcements: Announcements,
    ids: Vec<Uuid>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut awaited = self.announcements.awaited();
        for id in &self.ids {
            if let Some(requests) = awaited.get_mut(id) {
                *requests -= 1;
                if *requests == 0 {
                    awaited.remove(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn only_what_is_awaited_is_news() {
        let announcements = Announcements::new();
        announcements.send(|| unreachable!("nothing is awaited"));
        let is_news = || announcements.news().now_or_never().is_some();
        assert!(!is_news());

        let (one, other) = (announcements.await_any(vec![id(1), id(2)]), announcements.await_any(vec![id(2)]));
        assert!(is_news() && !is_news(), "it was committed before, perhaps");
        announcements.send(|| HashSet::from([id(3)]));
        assert!(!is_news());
        announcements.send(|| HashSet::from([id(2), id(4)]));
        assert!(is_news() && !is_news());

        drop(one);
        announcements.send(|| HashSet::from([id(1)]));
        assert!(!is_news(), "that request is gone");
        announcements.send(|| HashSet::from([id(2)]));
        assert!(is_news(), "another one still waits");
        drop(other);
        announcements.send(|| unreachable!("nothing is awaited any more"));
    }
}
