//! The lease of a worker: one row for all its jobs, with the oldest claim that may still run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use runtime::Ids;
use uuid::Uuid;

/// The claims of a worker whose jobs still run.
#[derive(Debug)]
pub(super) struct RunningClaims {
    ids: Ids,
    jobs: Mutex<BTreeMap<Uuid, usize>>,
}

impl RunningClaims {
    pub(super) fn new() -> Self {
        Self { ids: Ids::system(), jobs: Mutex::default() }
    }

    /// The id of a claim that is about to be made. It counts as running at once: a heartbeat that is sent meanwhile must
    /// not name a later one.
    pub(super) fn begin(&self) -> Uuid {
        let mut jobs = self.lock();
        let id = self.ids.next();
        jobs.insert(id, 0);
        id
    }

    /// How many jobs the claim got; 0 when it got none, or when its jobs were given back.
    pub(super) fn got(&self, claim: Uuid, count: usize) {
        let mut jobs = self.lock();
        if count == 0 {
            jobs.remove(&claim);
        } else {
            jobs.insert(claim, count);
        }
    }

    /// One of its jobs has ended.
    pub(super) fn ended(&self, claim: Uuid) {
        let mut jobs = self.lock();
        if let Some(count) = jobs.get_mut(&claim) {
            *count -= 1;
            if *count == 0 {
                jobs.remove(&claim);
            }
        }
    }

    /// No running job has an earlier claim, and no later claim will.
    pub(super) fn oldest(&self) -> Uuid {
        let jobs = self.lock();
        jobs.keys().next().copied().unwrap_or_else(|| self.ids.next())
    }

    pub(super) fn all(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, usize>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_claim_is_the_first_with_a_running_job() {
        let running = RunningClaims::new();
        let idle = running.oldest();
        let (first, second) = (running.begin(), running.begin());
        assert!(idle < first && first < second);
        running.got(first, 2);
        running.got(second, 1);
        running.ended(first);
        assert_eq!(running.oldest(), first);
        running.ended(first);
        assert_eq!((running.oldest(), running.all()), (second, vec![second]));
        running.ended(second);
        assert!(running.oldest() > second);
    }

    #[test]
    fn a_claim_counts_before_its_answer_is_there() {
        let running = RunningClaims::new();
        let claim = running.begin();
        assert_eq!(running.oldest(), claim);
        running.got(claim, 0);
        assert!(running.all().is_empty());
    }
}
