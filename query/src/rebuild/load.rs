//! The log, from its end to its beginning, into the tables of a rebuild.
//!
//! One task reads which events there are. Lanes fetch them and write them: the version guards make the order of the pages
//! immaterial. The first event of an aggregate is mostly its newest; the document of any older one is not wanted, and is
//! neither fetched nor decoded nor written.
//!
//! The log is in the order of its ids, each from the clock of whoever made it. That is almost the order of the versions,
//! and never relied on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use messaging::inbox::Job;
use messaging::log::{self, Entry, Payload};
use runtime::database::refuses_the_data;
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use uuid::Uuid;

use super::Rebuilt;
use crate::projector::batch::Batch;
use crate::projector::store::{Models, write};

/// Events in one transaction, and transactions at a time.
const PAGE: i64 = 2_000;
const LANES: usize = 2;
/// Aggregates whose newest version is remembered, 20 bytes each and as much for finding them. Of the others an older
/// version is refused by the database.
const REMEMBERED: usize = 5_000_000;

pub(super) async fn load(messaging: &PgPool, read: &PgPool) -> sqlx::Result<Rebuilt> {
    let begun = Instant::now();
    let lane = Lane { messaging, read, aggregates: None };
    let (events, unreadable) = lane.read_log(Newest::Known(HashMap::new())).await?;
    if !unreadable.is_empty() {
        // The newest that can be read was taken for superseded.
        Lane { aggregates: Some(&unreadable), ..lane }.read_log(Newest::Unknown).await?;
    }
    Ok(Rebuilt { events, unreadable: unreadable.len() as u64, loaded_in: begun.elapsed() })
}

/// The aggregate of each event that can never be applied.
type Unreadable = Vec<Uuid>;

/// The newest version of each aggregate among the events so far.
enum Newest {
    Known(HashMap<Uuid, i32>),
    /// Nothing is superseded: the database finds out.
    Unknown,
}

impl Newest {
    /// All of the page is seen first, since the newest of an aggregate may stand behind an older one.
    fn divide(&mut self, entries: &[Entry]) -> Page {
        if let Self::Known(newest) = self {
            for entry in entries {
                if newest.len() < REMEMBERED || newest.contains_key(&entry.aggregate_id) {
                    let version = newest.entry(entry.aggregate_id).or_insert(entry.aggregate_version);
                    *version = entry.aggregate_version.max(*version);
                }
            }
        }
        let mut page = Page::default();
        for entry in entries {
            let ids = if self.supersedes(entry) { &mut page.superseded } else { &mut page.wanted };
            ids.push(entry.event_id);
        }
        page
    }

    fn supersedes(&self, entry: &Entry) -> bool {
        match self {
            Self::Known(newest) => {
                newest.get(&entry.aggregate_id).is_some_and(|version| *version > entry.aggregate_version)
            }
            Self::Unknown => false,
        }
    }
}

/// Events, by whether a newer version of the document has been seen.
#[derive(Default)]
struct Page {
    wanted: Vec<Uuid>,
    superseded: Vec<Uuid>,
}

type Pages = Arc<Mutex<mpsc::Receiver<Page>>>;

#[derive(Clone, Copy)]
struct Lane<'a> {
    messaging: &'a PgPool,
    read: &'a PgPool,
    /// The only ones that are wanted.
    aggregates: Option<&'a [Uuid]>,
}

impl Lane<'_> {
    /// How many events there are, and which of them are unreadable.
    async fn read_log(self, newest: Newest) -> sqlx::Result<(u64, Unreadable)> {
        let (pages, taken) = mpsc::channel(LANES);
        let taken = Arc::new(Mutex::new(taken));
        let lanes = futures_util::future::try_join_all((0..LANES).map(|_| self.run(Arc::clone(&taken))));
        let (events, unreadable) = tokio::try_join!(self.read_entries(newest, pages), lanes)?;
        Ok((events, unreadable.concat()))
    }

    async fn read_entries(self, mut newest: Newest, pages: mpsc::Sender<Page>) -> sqlx::Result<u64> {
        let (mut before, mut events) = (Uuid::max(), 0);
        loop {
            let entries = log::entries_before(self.messaging, before, self.aggregates, PAGE).await?;
            let Some(last) = entries.last() else { return Ok(events) };
            before = last.event_id;
            events += entries.len() as u64;
            if pages.send(newest.divide(&entries)).await.is_err() {
                // A lane has failed and says why.
                return Ok(events);
            }
        }
    }

    async fn run(self, pages: Pages) -> sqlx::Result<Unreadable> {
        let mut unreadable = Vec::new();
        loop {
            let Some(page) = pages.lock().await.recv().await else { return Ok(unreadable) };
            let mut jobs = log::events(self.messaging, &page.wanted, Payload::Whole).await?;
            jobs.extend(log::events(self.messaging, &page.superseded, Payload::WithoutSnapshot).await?);
            let superseded: HashSet<Uuid> = page.superseded.into_iter().collect();
            match self.write(&jobs, &superseded).await {
                Err(error) if refuses_the_data(&error) => {
                    unreadable.extend(self.write_one_by_one(&jobs, &superseded).await?);
                }
                outcome => unreadable.extend(outcome?),
            }
        }
    }

    /// One transaction.
    async fn write(self, jobs: &[Job], superseded: &HashSet<Uuid>) -> sqlx::Result<Unreadable> {
        let (batch, poisoned) = Batch::decode_with(jobs, |job| superseded.contains(&job.event_id));
        let mut tx = self.read.begin().await?;
        // The swap that follows is durable, and with it everything before it.
        sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
        write(&mut tx, Models::Rebuilt, &batch).await?;
        tx.commit().await?;
        Ok(poisoned.into_iter().map(|(job, poison)| left_out(job, &poison)).collect())
    }

    /// A page that the database refuses: whatever is refused alone is left out, as the projector buries it.
    async fn write_one_by_one(self, jobs: &[Job], superseded: &HashSet<Uuid>) -> sqlx::Result<Unreadable> {
        let mut unreadable = Vec::new();
        for job in jobs {
            match self.write(std::slice::from_ref(job), superseded).await {
                Err(error) if refuses_the_data(&error) => unreadable.push(left_out(job, &error)),
                outcome => unreadable.extend(outcome?),
            }
        }
        Ok(unreadable)
    }
}

fn left_out(job: &Job, reason: &dyn std::error::Error) -> Uuid {
    tracing::warn!(event.id = %job.event_id, event.type = job.event_type, %reason, "event left out");
    job.aggregate_id
}
