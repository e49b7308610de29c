//! The requests that wait until the read model has a version, and the one task that looks for all of them.
//!
//! The task runs one statement at a time, on a connection of its own. So waiting requests cost the database no more the more
//! there are, and they take no connection from those that could be answered.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::database::within;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::projector::announcements::{Announcements, Awaited};

/// Most versions that all requests of this process may wait for at a time: one statement asks for all of them.
pub(super) const MAX_AWAITED: usize = 1_000;
/// Another process may run the projector, so the task also looks without an announcement.
const POLL: Duration = Duration::from_millis(10);
/// How long a look may take.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// The wait after a look that failed.
const RETRY: Duration = Duration::from_millis(250);

/// What a request reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Documents: any later version will do.
    Documents,
    /// The history: it must have every entry up to the version.
    History,
}

/// A version that a request wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) scope: Scope,
    /// `order` or `return`
    pub(super) kind: &'static str,
    pub(super) id: Uuid,
    pub(super) version: i32,
}

/// The requests that wait.
#[derive(Debug)]
pub(crate) struct Waiters {
    announcements: Announcements,
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    last: u64,
    waiting: BTreeMap<u64, Request>,
}

#[derive(Debug)]
struct Request {
    wanted: Vec<Wanted>,
    served: oneshot::Sender<()>,
}

impl Waiters {
    pub(crate) fn new(announcements: Announcements) -> Self {
        Self { announcements, requests: Mutex::default() }
    }

    /// Adds a request. `None`: too many wait already.
    pub(super) fn enter(self: &Arc<Self>, wanted: Vec<Wanted>) -> Option<Waiting> {
        let ids = wanted.iter().map(|wanted| wanted.id).collect();
        let (served, reply) = oneshot::channel();
        let mut requests = self.requests();
        let awaited: usize = requests.waiting.values().map(|request| request.wanted.len()).sum();
        if awaited + wanted.len() > MAX_AWAITED {
            return None;
        }
        requests.last += 1;
        let number = requests.last;
        requests.waiting.insert(number, Request { wanted, served });
        drop(requests);
        // Only now: the task must find the request when it looks.
        let awaited = self.announcements.await_any(ids);
        Some(Waiting { waiters: self.clone(), number, reply, _awaited: awaited })
    }

    /// Looks until shutdown, whenever requests wait.
    pub(crate) async fn run(self: Arc<Self>, read: PgPool, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.next_look() => {}
            }
            if let Err(error) = within(LOOK_WITHIN, self.look(&read)).await {
                tracing::warn!(%error, "could not look for what requests wait for; retrying in {RETRY:?}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn next_look(&self) {
        if self.requests().waiting.is_empty() {
            self.announcements.news().await;
        } else {
            // A time-out means that the next poll is due.
            let _polled = tokio::time::timeout(POLL, self.announcements.news()).await;
        }
    }

    /// Looks once, for all of them.
    async fn look(&self, read: &PgPool) -> sqlx::Result<()> {
        let wanted: HashSet<Wanted> =
            self.requests().waiting.values().flat_map(|request| request.wanted.iter().copied()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let wanted: Vec<Wanted> = wanted.into_iter().collect();
        let have = versions(read, &wanted).await?;
        let there = wanted.iter().zip(have).filter(|(wanted, have)| *have >= wanted.version);
        self.serve(&there.map(|(wanted, _)| *wanted).collect());
        Ok(())
    }

    /// Ends the waiting of the requests that want nothing but these.
    fn serve(&self, there: &HashSet<Wanted>) {
        let mut requests = self.requests();
        let ready =
            requests.waiting.extract_if(.., |_, request| request.wanted.iter().all(|wanted| there.contains(wanted)));
        for (_, request) in ready {
            // The client may have disconnected.
            let _disconnected = request.served.send(());
        }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    waiters: Arc<Waiters>,
    number: u64,
    reply: oneshot::Receiver<()>,
    _awaited: Awaited,
}

impl Waiting {
    /// Returns once the read model has everything that the request wants.
    pub(super) async fn served(&mut self) {
        if (&mut self.reply).await.is_err() {
            // The request is removed only when it is served or dropped.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.requests().waiting.remove(&self.number);
    }
}

/// The versions that the read model has, in the order of `wanted`; 0 for what is unknown. Versions run from 1 to n
/// without a gap, so a history is complete when it has as many entries as the version says.
pub(super) async fn versions(read: &PgPool, wanted: &[Wanted]) -> sqlx::Result<Vec<i32>> {
    let kinds: Vec<&str> = wanted.iter().map(|wanted| wanted.kind).collect();
    let ids: Vec<Uuid> = wanted.iter().map(|wanted| wanted.id).collect();
    let versions: Vec<i32> = wanted.iter().map(|wanted| wanted.version).collect();
    let of_history: Vec<bool> = wanted.iter().map(|wanted| wanted.scope == Scope::History).collect();
    sqlx::query_scalar!(
        r#"
        select coalesce(
            case
                when of_history then (select count(*)::int from read.history
                                      where aggregate_type = kind and aggregate_id = wanted.id and history.version <= wanted.version)
                when kind = 'order' then (select version from read.orders where orders.id = wanted.id)
                when kind = 'return' then (select version from read.returns where returns.id = wanted.id)
                when kind = 'refund' then (select version from read.refunds where refunds.id = wanted.id)
                when kind = 'invoice' then (select version from read.invoices where invoices.id = wanted.id)
                when kind = 'credit_note' then (select version from read.credit_notes where credit_notes.id = wanted.id)
            end, 0) as "have!"
        from unnest($1::text[], $2::uuid[], $3::int[], $4::bool[]) with ordinality as wanted (kind, id, version, of_history, place)
        order by place
        "#,
        &kinds as &[&str],
        &ids,
        &versions,
        &of_history,
    )
    .fetch_all(read)
    .await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn wanted(n: u128, version: i32) -> Wanted {
        Wanted { scope: Scope::Documents, kind: "order", id: Uuid::from_u128(n), version }
    }

    fn waiters() -> Arc<Waiters> {
        Arc::new(Waiters::new(Announcements::new()))
    }

    #[test]
    fn a_request_is_served_once_everything_that_it_wants_is_there() {
        let waiters = waiters();
        let enter = |wanted: &[Wanted]| waiters.enter(wanted.to_vec()).expect("there is room");
        let (mut one, mut both) = (enter(&[wanted(1, 2)]), enter(&[wanted(1, 2), wanted(2, 1)]));
        let is_served = |waiting: &mut Waiting| waiting.served().now_or_never().is_some();
        waiters.serve(&HashSet::from([wanted(2, 1), wanted(1, 1)]));
        assert!(!is_served(&mut one) && !is_served(&mut both));
        waiters.serve(&HashSet::from([wanted(1, 2)]));
        assert!(is_served(&mut one) && !is_served(&mut both));
        waiters.serve(&HashSet::from([wanted(1, 2), wanted(2, 1)]));
        assert!(is_served(&mut both));
        assert!(waiters.requests().waiting.is_empty());
    }

    #[test]
    fn requests_that_wait_are_limited_and_make_room_when_they_end() {
        let waiters = waiters();
        let twenty: Vec<_> = (0..20).map(|n| wanted(n, 1)).collect();
        let mut all: Vec<_> = (0..MAX_AWAITED / 20).map(|_| waiters.enter(twenty.clone()).expect("room")).collect();
        assert!(waiters.enter(vec![wanted(99, 1)]).is_none());
        all.pop();
        assert!(waiters.enter(twenty).is_some());
        drop(all);
        assert!(waiters.requests().waiting.is_empty());
    }
}
