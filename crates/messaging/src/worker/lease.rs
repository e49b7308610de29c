//! The lease of a worker: one row for all its jobs, with the oldest claim that may still run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use runtime::Ids;
use uuid::Uuid;

/// The claims of a worker whose jobs still run.
#[derive(Debug)]
pub(super) struct RunningClaims {
    ids: Ids,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The server on which the worker has its lease; empty while it has none.
    timeline: String,
    claims: BTreeMap<Uuid, Running>,
}

/// A claim whose jobs run here.
#[derive(Debug)]
struct Running {
    timeline: String,
    events: BTreeSet<Uuid>,
}

impl RunningClaims {
    pub(super) fn new() -> Self {
        Self { ids: Ids::system(), state: Mutex::default() }
    }

    /// The id of a claim that is about to be made, and the server on which it may be. It counts as running at once: a
    /// heartbeat that is sent meanwhile must not name a later one.
    pub(super) fn begin(&self) -> (Uuid, String) {
        let mut state = self.lock();
        let id = self.ids.next();
        let timeline = state.timeline.clone();
        state.claims.insert(id, Running { timeline: timeline.clone(), events: BTreeSet::new() });
        (id, timeline)
    }

    /// What a claim got: nothing, when its jobs were given back.
    pub(super) fn got(&self, claim: Uuid, events: impl IntoIterator<Item = Uuid>) {
        let mut state = self.lock();
        let Some(running) = state.claims.get_mut(&claim) else { return };
        running.events = events.into_iter().collect();
        if running.events.is_empty() {
            state.claims.remove(&claim);
        }
    }

    /// One of its jobs has ended. `false` when the lease has left the server of the claim meanwhile: its end may be recorded on
    /// the old server only.
    pub(super) fn ended(&self, claim: Uuid, event: Uuid) -> bool {
        let mut state = self.lock();
        let Some(running) = state.claims.get_mut(&claim) else { return true };
        running.events.remove(&event);
        let (is_empty, timeline) = (running.events.is_empty(), running.timeline.clone());
        if is_empty {
            state.claims.remove(&claim);
        }
        timeline == state.timeline
    }

    /// No running job has an earlier claim, and no later claim will.
    pub(super) fn oldest(&self) -> Uuid {
        let state = self.lock();
        state.claims.keys().next().copied().unwrap_or_else(|| self.ids.next())
    }

    pub(super) fn all(&self) -> Vec<Uuid> {
        self.lock().claims.keys().copied().collect()
    }

    /// The server on which the worker has its lease.
    pub(super) fn timeline(&self) -> String {
        self.lock().timeline.clone()
    }

    /// The lease leaves its server. Returns the events whose jobs run here: of each that ends from now on, [`Self::ended`] says
    /// that its end may be lost.
    pub(super) fn leave(&self) -> Vec<Uuid> {
        let mut state = self.lock();
        state.timeline.clear();
        state.claims.values().flat_map(|running| &running.events).copied().collect()
    }

    /// The lease is on this server now.
    pub(super) fn moved_to(&self, timeline: String) {
        self.lock().timeline = timeline;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST_JOB: Uuid = Uuid::from_u128(1);
    const SECOND_JOB: Uuid = Uuid::from_u128(2);
    const THIRD_JOB: Uuid = Uuid::from_u128(3);

    #[test]
    fn the_oldest_claim_is_the_first_with_a_running_job() {
        let running = RunningClaims::new();
        let idle = running.oldest();
        let ((first, _), (second, _)) = (running.begin(), running.begin());
        assert!(idle < first && first < second);
        running.got(first, [FIRST_JOB, SECOND_JOB]);
        running.got(second, [THIRD_JOB]);
        assert!(running.ended(first, FIRST_JOB));
        assert_eq!(running.oldest(), first);
        assert!(running.ended(first, SECOND_JOB));
        assert_eq!((running.oldest(), running.all()), (second, vec![second]));
        assert!(running.ended(second, THIRD_JOB));
        assert!(running.oldest() > second);
    }

    #[test]
    fn a_claim_counts_before_its_answer_is_there() {
        let running = RunningClaims::new();
        let (claim, _) = running.begin();
        assert_eq!(running.oldest(), claim);
        running.got(claim, []);
        assert!(running.all().is_empty());
    }

    #[test]
    fn after_a_failover_the_end_of_a_job_of_the_old_server_may_be_lost() {
        let running = RunningClaims::new();
        running.moved_to("old".to_owned());
        let (claim, _) = running.begin();
        running.got(claim, [FIRST_JOB, SECOND_JOB, THIRD_JOB]);
        assert!(running.ended(claim, FIRST_JOB));
        assert_eq!(running.leave(), [SECOND_JOB, THIRD_JOB]);
        assert!(!running.ended(claim, SECOND_JOB), "it ended while the lease was moving");
        running.moved_to("new".to_owned());
        assert!(!running.ended(claim, THIRD_JOB));
        let (claim, timeline) = running.begin();
        running.got(claim, [FIRST_JOB]);
        assert_eq!((timeline.as_str(), running.ended(claim, FIRST_JOB)), ("new", true));
    }
}
