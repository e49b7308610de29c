//! Reads the log from its end to its beginning and writes the tables of a rebuild.
//!
//! One reader lists the events; writers fetch and write them page by page. The version guards make the order of the pages
//! immaterial. The first event seen of an aggregate is mostly its newest. The documents of older events are superseded: they
//! are neither fetched nor decoded nor written.
//!
//! The log is sorted by event id, and each id comes from the clock of the process that made it. That is almost the order of
//! the versions, and nothing here relies on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::log::{self, Entry, Payload};
use runtime::database::{refuses_the_data, timed_out};
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Lost, Rebuilt};
use crate::projector::batch::Batch;
use crate::projector::follower::MAX_BATCH_BYTES;
use crate::projector::store::{Models, write};

/// Events that are listed together.
const PAGE: i64 = 2_000;
/// Transactions at a time.
const WRITERS: usize = 2;
/// Aggregates whose newest version is kept in memory, 20 bytes each and as much for the hash table. For the others the
/// database refuses the older versions.
const MAX_REMEMBERED: usize = 5_000_000;

pub(super) async fn load(messaging: &PgPool, read: &PgPool) -> sqlx::Result<Rebuilt> {
    let started = Instant::now();
    let loader = Loader { messaging, read, aggregates: None };
    let (events, unreadable) = loader.load(Newest::Known(HashMap::new())).await?;
    if !unreadable.is_empty() {
        // An unreadable newest version has superseded the newest readable one: load these aggregates again, whole.
        let aggregates = unreadable.iter().copied().collect();
        Loader { aggregates: Some(&aggregates), ..loader }.load(Newest::Unknown).await?;
    }
    Ok(Rebuilt { events, unreadable: unreadable.len() as u64, lost: Lost::default(), loaded_in: started.elapsed() })
}

/// The aggregate of each event that can never be applied.
type Unreadable = Vec<Uuid>;

/// The newest version of each aggregate among the events so far.
enum Newest {
    Known(HashMap<Uuid, i32>),
    /// Nothing counts as superseded; the version guards of the database decide.
    Unknown,
}

impl Newest {
    /// Looks at the whole page first, since the newest version of an aggregate may come after an older one.
    fn divide(&mut self, entries: &[Entry]) -> Page {
        if let Self::Known(newest) = self {
            for entry in entries {
                if newest.len() < MAX_REMEMBERED || newest.contains_key(&entry.aggregate_id) {
                    let version = newest.entry(entry.aggregate_id).or_insert(entry.aggregate_version);
                    *version = entry.aggregate_version.max(*version);
                }
            }
        }
        let mut page = Page::default();
        for entry in entries {
            let ids = if self.supersedes(entry) { &mut page.superseded } else { &mut page.current };
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

/// Ids of events, divided by whether a newer version of their document has been seen.
#[derive(Default)]
struct Page {
    current: Vec<Uuid>,
    superseded: Vec<Uuid>,
}

type Pages = Arc<Mutex<mpsc::Receiver<Page>>>;

#[derive(Clone, Copy)]
struct Loader<'a> {
    messaging: &'a PgPool,
    read: &'a PgPool,
    /// Only these; `None`: all.
    aggregates: Option<&'a HashSet<Uuid>>,
}

impl Loader<'_> {
    /// Returns the number of events, and which of them are unreadable.
    async fn load(self, newest: Newest) -> sqlx::Result<(u64, Unreadable)> {
        let (sender, receiver) = mpsc::channel(WRITERS);
        let pages = Arc::new(Mutex::new(receiver));
        let writers = futures_util::future::try_join_all((0..WRITERS).map(|_| self.write_pages(Arc::clone(&pages))));
        let (events, unreadable) = tokio::try_join!(self.read_entries(newest, sender), writers)?;
        Ok((events, unreadable.concat()))
    }

    async fn read_entries(self, mut newest: Newest, pages: mpsc::Sender<Page>) -> sqlx::Result<u64> {
        let (mut before, mut events) = (Uuid::max(), 0);
        loop {
            let mut entries = log::entries_before(self.messaging, before, PAGE).await?;
            let Some(last) = entries.last() else { return Ok(events) };
            before = last.event_id;
            if let Some(aggregates) = self.aggregates {
                entries.retain(|entry| aggregates.contains(&entry.aggregate_id));
            }
            events += entries.len() as u64;
            if pages.send(newest.divide(&entries)).await.is_err() {
                // A writer has failed and returns the error.
                return Ok(events);
            }
        }
    }

    async fn write_pages(self, pages: Pages) -> sqlx::Result<Unreadable> {
        let mut unreadable = Vec::new();
        loop {
            let Some(page) = pages.lock().await.recv().await else { return Ok(unreadable) };
            let superseded = page.superseded.iter().copied().collect();
            unreadable.extend(self.write_all(page.superseded, Payload::WithoutSnapshot, &superseded).await?);
            unreadable.extend(self.write_all(page.current, Payload::Whole, &superseded).await?);
        }
    }

    /// Fetches and writes these events in batches of limited size.
    async fn write_all(
        self,
        mut ids: Vec<Uuid>,
        payload: Payload,
        superseded: &HashSet<Uuid>,
    ) -> sqlx::Result<Unreadable> {
        let mut unreadable = Vec::new();
        loop {
            let jobs = log::events(self.messaging, &ids, payload, MAX_BATCH_BYTES).await?;
            let Some(last) = jobs.last() else { return Ok(unreadable) };
            ids.retain(|id| *id > last.event_id);
            unreadable.extend(self.write(&jobs, superseded).await?);
        }
    }

    /// Writes these events. When the database refuses them, or takes too long, each half is written alone. An event that is
    /// refused alone is left out, as the projector dead-letters it.
    fn write<'a>(self, jobs: &'a [Job], superseded: &'a HashSet<Uuid>) -> BoxFuture<'a, sqlx::Result<Unreadable>>
    where
        Self: 'a,
    {
        async move {
            match self.try_write(jobs, superseded).await {
                Err(error) if jobs.len() > 1 && (refuses_the_data(&error) || timed_out(&error)) => {
                    let (first, second) = jobs.split_at(jobs.len() / 2);
                    let mut unreadable = self.write(first, superseded).await?;
                    unreadable.extend(self.write(second, superseded).await?);
                    Ok(unreadable)
                }
                Err(error) if refuses_the_data(&error) => Ok(jobs.iter().map(|job| leave_out(job, &error)).collect()),
                outcome => outcome,
            }
        }
        .boxed()
    }

    /// Writes these events in one transaction.
    async fn try_write(self, jobs: &[Job], superseded: &HashSet<Uuid>) -> sqlx::Result<Unreadable> {
        let (batch, undecodable) = Batch::decode_with(jobs, |job| superseded.contains(&job.event_id));
        let mut tx = self.read.begin().await?;
        // The swap that follows is durable, and with it every commit before it.
        sqlx::query!("set local synchronous_commit = off").execute(&mut *tx).await?;
        write(&mut tx, Models::Rebuilt, &batch).await?;
        tx.commit().await?;
        Ok(undecodable.into_iter().map(|(job, reason)| leave_out(job, &reason)).collect())
    }
}

fn leave_out(job: &Job, reason: &dyn std::error::Error) -> Uuid {
    tracing::warn!(event.id = %job.event_id, event.type = job.event_type, %reason, "event left out of the rebuild");
    job.aggregate_id
}
