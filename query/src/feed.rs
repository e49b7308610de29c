//! The events as others see them, in the order of the log.
//!
//! Positions commit out of order, so a reader that remembers only the last position it has seen would miss what commits later below
//! it. No client is shown anything above the position up to which the log is *settled*: no transaction that is still open can add to it.
//! [`tail`] follows the log, learns that position, and reads each new event once for all who listen; [`store`] reads pages of older
//! ones. The tail rests while no client asks.

mod tail;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use access::ConsistencyKey;
use contracts::{EventDocument, EventName};
use runtime::Tasks;
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

pub(crate) use store::{Page, Wanted};

/// Events that a listener may be behind before it reads them from the database instead.
const LIVE: usize = 1_024;
/// Listeners at the same time.
pub(crate) const MAX_LISTENERS: usize = 2_000;
/// How long a request waits for a tail that has rested.
const WAKE_WITHIN: Duration = Duration::from_secs(5);

/// An event as it is shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) position: i64,
    pub(crate) event_type: String,
    /// The order that it concerns.
    pub(crate) order_id: Option<Uuid>,
    /// An `EventDocument`.
    pub(crate) text: String,
}

/// Reads the feed.
#[derive(Debug)]
pub(crate) struct Feed {
    pool: PgPool,
    key: ConsistencyKey,
    /// `None`: the tail rests.
    settled: watch::Sender<Option<i64>>,
    live: broadcast::Sender<Arc<Shown>>,
    /// Which server the log is on, and since which start of it. Empty until the tail has asked.
    server: watch::Sender<String>,
    started: Instant,
    /// Milliseconds after `started` at which it was asked for something the last time.
    asked_at: AtomicU64,
    asked: Notify,
}

/// What the snapshot of an event says of its order.
#[derive(Deserialize)]
struct OfOrder {
    order_id: Option<Uuid>,
}

#[derive(Deserialize)]
struct Payload {
    snapshot: OfOrder,
}

impl Feed {
    /// Starts the tail. The pool is on the database with the outbox.
    pub(crate) fn start(pool: PgPool, key: ConsistencyKey, tasks: &Tasks) -> Arc<Self> {
        let feed = Arc::new(Self {
            pool,
            key,
            settled: watch::channel(None).0,
            live: broadcast::channel(LIVE).0,
            server: watch::channel(String::new()).0,
            started: Instant::now(),
            asked_at: AtomicU64::new(0),
            asked: Notify::new(),
        });
        tasks.spawn("event feed", tail::run(feed.clone(), tasks.clone()));
        feed
    }

    /// Up to here nothing can come any more. `None`: it was not known in time.
    pub(crate) async fn settled(&self) -> Option<i64> {
        self.touch();
        let mut settled = self.settled.subscribe();
        let known = settled.wait_for(Option::is_some);
        tokio::time::timeout(WAKE_WITHIN, known).await.ok()?.ok().and_then(|settled| *settled)
    }

    /// What comes from now on; `None`: too many listen already. Ask for [`settled`](Self::settled) afterwards: what lies above it comes.
    pub(crate) fn listen(&self) -> Option<broadcast::Receiver<Arc<Shown>>> {
        (self.live.receiver_count() < MAX_LISTENERS).then(|| self.live.subscribe())
    }

    /// Changes when another server has the log, or the same one has started again. What was told of positions may then be void.
    pub(crate) fn server(&self) -> watch::Receiver<String> {
        self.server.subscribe()
    }

    /// Events after a position, none above the settled one.
    pub(crate) async fn page(&self, wanted: &Wanted, after: i64, settled: i64, limit: i64) -> sqlx::Result<Page> {
        store::page(&self.pool, wanted, after, settled, limit, |row| self.shown(row)).await
    }

    /// The position before the first event of this id or a later one.
    pub(crate) async fn before(&self, event_id: Uuid) -> sqlx::Result<Option<i64>> {
        store::before(&self.pool, event_id).await
    }

    fn touch(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.asked_at.store(now, Ordering::Relaxed);
        self.asked.notify_one();
    }

    fn shown(&self, row: store::Row) -> Option<Shown> {
        let name = EventName {
            id: row.event_id,
            event_type: &row.event_type,
            timestamp: row.occurred_at,
            entity_type: &row.aggregate_type,
            entity_id: row.aggregate_id,
            version: row.aggregate_version,
        };
        let token = self.key.token(name.entity_type, name.entity_id, name.version);
        let payload = row.payload.as_deref().unwrap_or_default();
        let text = EventDocument::text(&name, payload, &token).inspect_err(|error| {
            tracing::error!(event.id = %row.event_id, %error, "an event cannot be shown");
        });
        let text = text.ok()?;
        let of = serde_json::from_str::<Payload>(payload).ok().and_then(|payload| payload.snapshot.order_id);
        let order_id = of.or_else(|| (row.aggregate_type == "order").then_some(row.aggregate_id));
        Some(Shown { position: row.position, event_type: row.event_type, order_id, text })
    }
}
