//! A hundred small batches per second: an `append_events` of a few events every ten milliseconds, each in a commit of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::minute::Source;
use super::settled_events::{appended, remember};
use crate::figures::Figures;
use crate::load::{Latencies, Pace, Schedule, on_own_thread};
use crate::system::{Database, append_events};

pub(crate) const PER_SECOND: f64 = 100.0;
/// Events in a batch, of as many orders.
const EVENTS: u64 = 4;
/// A commit may take longer than the ten milliseconds between two batches.
const CONNECTIONS: u32 = 4;

#[derive(Debug)]
pub(crate) struct Batches {
    /// From when a batch was due to its commit.
    taken: Arc<Mutex<Vec<Duration>>>,
    /// The last event.
    last: Arc<AtomicU64>,
    stop: CancellationToken,
    generator: JoinHandle<Result<()>>,
}

impl Batches {
    pub(crate) async fn start(database: &Database, sample: &Value) -> Result<Self> {
        // Numbers that are left out do no harm.
        let last = Arc::new(AtomicU64::new(appended(database).await?.next_multiple_of(EVENTS)));
        let (taken, stop) = (Arc::default(), CancellationToken::new());
        let appender = Appender {
            url: database.url.clone(),
            sample: sample.clone(),
            last: Arc::clone(&last),
            taken: Arc::clone(&taken),
            stop: stop.clone(),
        };
        let generator = on_own_thread(move || appender.drive());
        Ok(Self { taken, last, stop, generator })
    }

    pub(crate) async fn stop(self, database: &Database) -> Result<()> {
        self.stop.cancel();
        self.generator.await.context("the appender has crashed")??;
        let mut connection = database.pool.acquire().await?;
        remember(&mut connection, self.last.load(Ordering::Relaxed)).await
    }
}

impl Source for Batches {
    fn clear(&self) -> Result<()> {
        ensure!(!self.generator.is_finished(), "the appender has stopped");
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "batches of a minute")]
    fn figures(&self, seconds: f64) -> Result<Figures> {
        let taken = std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner));
        let mut figures = Figures::default();
        figures.note("batches /s", taken.len() as f64 / seconds);
        let latencies = Latencies::new(taken)?;
        figures.note("append p50 ms", latencies.per_mille(500));
        figures.note("append p99 ms", latencies.per_mille(990));
        Ok(figures)
    }
}

#[derive(Clone)]
struct Appender {
    url: String,
    sample: Value,
    last: Arc<AtomicU64>,
    taken: Arc<Mutex<Vec<Duration>>>,
    stop: CancellationToken,
}

impl Appender {
    async fn drive(self) -> Result<()> {
        let (mut connections, start) = (JoinSet::new(), Instant::now());
        let pace = Pace::Open { per_second: PER_SECOND };
        for number in 0..CONNECTIONS {
            let connection = PgConnection::connect(&self.url).await?;
            connections.spawn(self.clone().append(connection, Schedule::new(pace, CONNECTIONS, number, start)));
        }
        while let Some(ended) = connections.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn append(self, mut connection: PgConnection, mut schedule: Schedule) -> Result<()> {
        while !self.stop.is_cancelled() {
            let due = schedule.next().await;
            let before = self.last.fetch_add(EVENTS, Ordering::Relaxed);
            append_events(&mut connection, &self.sample, (before + 1, before + EVENTS), Duration::ZERO).await?;
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(due.elapsed());
        }
        Ok(connection.close().await?)
    }
}
