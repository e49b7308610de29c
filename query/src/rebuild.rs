//! Rebuilds the read models from the events, beside the live ones, and swaps them in.
//!
//! 1. A row in `read.rebuild` says that a rebuild is running. While it does, every projector writes each batch to both copies.
//! 2. The log is read from its end to its beginning ([`load`]).
//! 3. The rebuilt copy must have everything that the live one has, unless an operator accepts the loss. Then the tables are swapped in one transaction.
//!
//! A failure before the swap leaves the live models as they were.

mod load;
mod store;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// A rebuild without a heartbeat for this long counts as dead.
const LEASE: Duration = Duration::from_secs(30);
/// Attempts to lock all tables at once. A long report holds a lock, and other readers must not queue behind ours meanwhile.
const SWAP_ATTEMPTS: u32 = 30;
/// Lets the readers through that our attempt has blocked.
const SWAP_PAUSE: Duration = Duration::from_secs(2);

/// Documents and history entries of the live read models that no event tells of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    pub documents: i64,
    pub entries: i64,
}

/// What to do when events are missing that the live read models show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLoss {
    /// The rebuild fails, and the live read models stay.
    Fail,
    /// The read models forget what no event tells. After a failover that lost commits, that is what the write side did.
    Forget,
}

/// What a rebuild has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub events: u64,
    /// Events that can never be applied; for the projector they are dead, too.
    pub unreadable: u64,
    /// What the live read models had, and the events no longer tell.
    pub lost: Lost,
    /// Time to read the log and write the copy, without check and swap.
    pub loaded_in: Duration,
}

/// Why a rebuild failed. The live read models are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("another rebuild is running; if it was killed, wait {} seconds", LEASE.as_secs())]
    AlreadyRunning,
    #[error(
        "retention has dropped the events before {dropped_until}, and there are no later snapshots of {aggregates}: run \
         `{program} snapshots`, then this command again"
    )]
    SnapshotsMissing { dropped_until: DateTime<Utc>, aggregates: &'static str, program: &'static str },
    #[error(
        "the rebuilt read models lack {} documents and {} history entries that the live ones have: their events are no longer \
         in the outbox. Run `command snapshots` and `workers snapshots`, then this command again. After a failover that lost \
         commits, run it with --accept-loss",
        .0.documents, .0.entries
    )]
    Incomplete(Lost),
    #[error("the rebuild paused for more than {} seconds and may have missed events: run it again", LEASE.as_secs())]
    Lapsed,
    #[error("the tables were in use for too long: run this command again when fewer reports run")]
    Busy,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Rebuilds the read models. `messaging` is the database with the outbox; the read models are in it too, unless `read` is
/// another one.
pub async fn rebuild(
    messaging: PgPool,
    read: Option<PgPool>,
    run: Uuid,
    on_loss: OnLoss,
) -> Result<Rebuilt, RebuildError> {
    let read = read.unwrap_or_else(|| messaging.clone());
    check_snapshots(&messaging).await?;
    if !store::begin(&read, run, LEASE).await? {
        return Err(RebuildError::AlreadyRunning);
    }
    let rebuilt = load_and_swap(&messaging, &read, run, on_loss).await;
    if rebuilt.is_err() {
        // Best effort: otherwise the lease runs out.
        let _ = store::abandon(&read, run).await;
    }
    rebuilt
}

async fn load_and_swap(messaging: &PgPool, read: &PgPool, run: Uuid, on_loss: OnLoss) -> Result<Rebuilt, RebuildError> {
    let lease = Lease { read: read.clone(), run };
    let mut rebuilt = lease.hold_during(async { Ok(load::load(messaging, read).await?) }).await?;
    tracing::info!(events = rebuilt.events, seconds = rebuilt.loaded_in.as_secs_f64(), "read models loaded");
    rebuilt.lost = lease.hold_during(async { Ok(store::missing_from_rebuilt(read).await?) }).await?;
    if rebuilt.lost.documents + rebuilt.lost.entries > 0 && on_loss == OnLoss::Fail {
        return Err(RebuildError::Incomplete(rebuilt.lost));
    }
    // The oldest day is read last; retention may have dropped it before that.
    check_snapshots(messaging).await?;
    for _ in 0..SWAP_ATTEMPTS {
        lease.extend().await?;
        match store::swap(read, run).await? {
            store::Swap::Done => return Ok(rebuilt),
            store::Swap::Lapsed => return Err(RebuildError::Lapsed),
            store::Swap::Busy => tokio::time::sleep(SWAP_PAUSE).await,
        }
    }
    Err(RebuildError::Busy)
}

/// For what retention has dropped, every owner of aggregates must have published snapshots since.
async fn check_snapshots(messaging: &PgPool) -> Result<(), RebuildError> {
    let Some(dropped_until) = store::dropped_until(messaging).await? else { return Ok(()) };
    let sources = store::snapshot_sources_after(messaging, dropped_until).await?;
    for (program, aggregates) in [("command", "orders, returns and refunds"), ("workers", "invoices and credit notes")]
    {
        if !sources.iter().any(|source| source == program) {
            return Err(RebuildError::SnapshotsMissing { dropped_until, aggregates, program });
        }
    }
    Ok(())
}

/// The right of this run to rebuild, extended by its heartbeat.
struct Lease {
    read: PgPool,
    run: Uuid,
}

impl Lease {
    async fn extend(&self) -> Result<(), RebuildError> {
        if store::extend(&self.read, self.run, LEASE).await? { Ok(()) } else { Err(RebuildError::Lapsed) }
    }

    /// Runs `work` beside the heartbeat; fails when the lease lapses.
    async fn hold_during<T>(&self, work: impl Future<Output = Result<T, RebuildError>>) -> Result<T, RebuildError> {
        let heartbeat = async {
            let mut beat = tokio::time::interval(LEASE / 6);
            loop {
                beat.tick().await;
                self.extend().await?;
            }
        };
        tokio::select! {
            done = work => done,
            lapsed = heartbeat => lapsed,
        }
    }
}
