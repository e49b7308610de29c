//! The read models made again from the events, beside the live ones, and put in their place.
//!
//! 1. A row in `read.rebuild` says that a rebuild lives; from then on every projector writes each batch to both.
//! 2. The log is read from its end to its beginning, so a document is mostly written once, and older versions of it are
//!    recognised before they are even decoded.
//! 3. What was made must have everything that the live models have; then the tables change places in one transaction.
//!
//! Whatever fails before the last step leaves the live models as they were.

mod store;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;
use messaging::inbox::Job;
use messaging::log;
use runtime::database::refuses_the_data;
use sqlx::{PgConnection, PgPool};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::projector::batch::Batch;
use crate::projector::store::{Models, write};

/// How long a rebuild that gives no sign of life counts as alive.
const LEASE: Duration = Duration::from_secs(30);
/// Events in one transaction, and transactions at a time.
const PAGE: i64 = 2_000;
const LANES: usize = 2;
/// Documents remembered as written, 20 bytes each and as much for finding them. Of the others an older version is refused
/// by the database.
const REMEMBERED: usize = 5_000_000;
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
    let rebuilt = lease.kept_during(load(messaging, read)).await?;
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

/// The log, from its end to its beginning, in a few lanes: the version guards make the order of the pages immaterial.
async fn load(messaging: &PgPool, read: &PgPool) -> Result<Rebuilt, RebuildError> {
    let begun = Instant::now();
    let (pages, taken) = mpsc::channel(LANES);
    let taken = Arc::new(tokio::sync::Mutex::new(taken));
    let written = Written::default();
    let lanes = futures_util::future::try_join_all((0..LANES).map(|_| lane(read, Arc::clone(&taken), &written)));
    let (events, unreadable) = tokio::try_join!(read_log(messaging, pages), lanes)?;
    Ok(Rebuilt { events, unreadable: unreadable.iter().sum(), loaded_in: begun.elapsed() })
}

async fn read_log(messaging: &PgPool, pages: mpsc::Sender<Vec<Job>>) -> sqlx::Result<u64> {
    let (mut before, mut events) = (Uuid::max(), 0);
    loop {
        let page = log::before(messaging, before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(events) };
        before = last.event_id;
        events += page.len() as u64;
        if pages.send(page).await.is_err() {
            // A lane has failed and says why.
            return Ok(events);
        }
    }
}

type Pages = Arc<tokio::sync::Mutex<mpsc::Receiver<Vec<Job>>>>;

/// The newest version of each aggregate that is written. The log is in the order of its ids, each from the clock of whoever
/// made it: almost that of the versions, and never relied on.
type Written = Mutex<HashMap<Uuid, i32>>;

async fn lane(read: &PgPool, pages: Pages, written: &Written) -> sqlx::Result<u64> {
    let mut unreadable = 0;
    loop {
        let Some(page) = pages.lock().await.recv().await else { return Ok(unreadable) };
        unreadable += match write_all(read, &page, written).await {
            Err(error) if refuses_the_data(&error) => one_by_one(read, &page, written).await?,
            outcome => outcome?,
        };
    }
}

/// One transaction. Returns how many events can never be applied.
async fn write_all(read: &PgPool, jobs: &[Job], written: &Written) -> sqlx::Result<u64> {
    let superseded: HashSet<Uuid> = {
        let written = written.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            |job: &&Job| written.get(&job.aggregate_id).is_some_and(|version| *version >= job.aggregate_version);
        jobs.iter().filter(known).map(|job| job.event_id).collect()
    };
    let (batch, poisoned) = Batch::decode_with(jobs, |job| superseded.contains(&job.event_id));
    for (job, poison) in &poisoned {
        tracing::warn!(event.id = %job.event_id, event.type = job.event_type, %poison, "event left out");
    }
    let mut tx = read.begin().await?;
    // The swap that follows is durable, and with it everything before it.
    sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
    write(&mut tx, Models::Rebuilt, &batch).await?;
    tx.commit().await?;
    let applied: HashSet<_> = batch.event_ids().iter().collect();
    let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
    for job in jobs.iter().filter(|job| applied.contains(&job.event_id)) {
        if written.len() < REMEMBERED || written.contains_key(&job.aggregate_id) {
            let version = written.entry(job.aggregate_id).or_default();
            *version = job.aggregate_version.max(*version);
        }
    }
    Ok(poisoned.len() as u64)
}

/// A page that the database refuses: whatever is refused alone is left out, as the projector buries it.
async fn one_by_one(read: &PgPool, jobs: &[Job], written: &Written) -> sqlx::Result<u64> {
    let mut unreadable = 0;
    for job in jobs {
        unreadable += match write_all(read, std::slice::from_ref(job), written).await {
            Err(error) if refuses_the_data(&error) => {
                tracing::warn!(event.id = %job.event_id, event.type = job.event_type, %error, "event left out");
                1
            }
            outcome => outcome?,
        };
    }
    Ok(unreadable)
}
