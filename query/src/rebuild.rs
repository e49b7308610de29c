//! The read models made again from the events, beside the live ones, and put in their place.
//!
//! 1. A row in `read.rebuild` says that a rebuild lives; from then on every projector writes each batch to both.
//! 2. The log is read from its end to its beginning ([`load`]).
//! 3. What was made must have everything that the live models have; then the tables change places in one transaction.
//!
//! Whatever fails before the last step leaves the live models as they were.

mod load;
mod store;

use std::time::Duration;

use chrono::NaiveDate;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// How long a rebuild that gives no sign of life counts as alive.
const LEASE: Duration = Duration::from_secs(30);
/// Attempts to lock every table at once: a long report holds one, and nobody is to queue behind us meanwhile.
const SWAPS: u32 = 30;
/// Those who had to wait meanwhile are let through.
const BETWEEN_SWAPS: Duration = Duration::from_secs(2);

/// What a rebuild has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    pub events: u64,
    /// Events that can never be applied; the projector has buried them, too.
    pub unreadable: u64,
    /// Reading and writing, without what follows.
    pub loaded_in: Duration,
}

/// Why there was none. The live read models are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("another rebuild is under way; if it was killed, wait {} seconds", LEASE.as_secs())]
    UnderWay,
    #[error(
        "retention has dropped the events up to {dropped_through}, and {source_of} have not told of their aggregates since: \
         run `{program} snapshots`, then this again"
    )]
    Forgotten { dropped_through: NaiveDate, source_of: &'static str, program: &'static str },
    #[error(
        "the rebuilt read models lack {documents} documents and {entries} entries of histories that the live ones have: their \
         events are no longer in the outbox. Run `command snapshots` and `workers snapshots`, then this again"
    )]
    Incomplete { documents: i64, entries: i64 },
    #[error("the rebuild stood still for more than {} seconds and may have missed events: run it again", LEASE.as_secs())]
    Lapsed,
    #[error("the tables were in use for too long: run it again when fewer reports are made")]
    Busy,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Whether the projector must write both; held until its transaction ends, so that a rebuild which begins or ends waits.
pub(crate) async fn is_under_way(conn: &mut PgConnection) -> sqlx::Result<bool> {
    store::is_under_way(conn).await
}

/// Makes the read models again. `messaging` is the database with the outbox; the read models are in it too, unless `read`
/// is another one.
pub async fn rebuild(messaging: PgPool, read: Option<PgPool>, run: Uuid) -> Result<Rebuilt, RebuildError> {
    let read = read.unwrap_or_else(|| messaging.clone());
    nothing_forgotten(&messaging).await?;
    if !store::begin(&read, run, LEASE).await? {
        return Err(RebuildError::UnderWay);
    }
    let rebuilt = replace(&messaging, &read, run).await;
    if rebuilt.is_err() {
        // Best effort: the lease ends it as well.
        let _ = store::abandon(&read, run).await;
    }
    rebuilt
}

async fn replace(messaging: &PgPool, read: &PgPool, run: Uuid) -> Result<Rebuilt, RebuildError> {
    let lease = Lease { read: read.clone(), run };
    let rebuilt = lease.kept_during(async { Ok(load::load(messaging, read).await?) }).await?;
    tracing::info!(events = rebuilt.events, seconds = rebuilt.loaded_in.as_secs_f64(), "read models loaded");
    let lacking = lease.kept_during(async { Ok(store::lacking(read).await?) }).await?;
    if lacking.documents + lacking.entries > 0 {
        return Err(RebuildError::Incomplete { documents: lacking.documents, entries: lacking.entries });
    }
    // The oldest day is read last, and may have been dropped before that.
    nothing_forgotten(messaging).await?;
    for _ in 0..SWAPS {
        lease.extend().await?;
        match store::swap(read, run).await? {
            store::Swap::Done => return Ok(rebuilt),
            store::Swap::Lapsed => return Err(RebuildError::Lapsed),
            store::Swap::Busy => tokio::time::sleep(BETWEEN_SWAPS).await,
        }
    }
    Err(RebuildError::Busy)
}

/// What retention has dropped must have been told again, by everybody who owns a part of it.
async fn nothing_forgotten(messaging: &PgPool) -> Result<(), RebuildError> {
    let Some(dropped_through) = store::dropped_through(messaging).await? else { return Ok(()) };
    let told = store::told_after(messaging, dropped_through).await?;
    for (program, source_of) in [("command", "orders and returns"), ("workers", "invoices and refunds")] {
        if !told.iter().any(|source| source == program) {
            return Err(RebuildError::Forgotten { dropped_through, source_of, program });
        }
    }
    Ok(())
}

/// The sign of life.
struct Lease {
    read: PgPool,
    run: Uuid,
}

impl Lease {
    async fn extend(&self) -> Result<(), RebuildError> {
        if store::extend(&self.read, self.run, LEASE).await? { Ok(()) } else { Err(RebuildError::Lapsed) }
    }

    /// Does `work` while the lease lives.
    async fn kept_during<T>(&self, work: impl Future<Output = Result<T, RebuildError>>) -> Result<T, RebuildError> {
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
