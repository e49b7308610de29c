//! Events → read models.
//!
//! An event carries the full state of its aggregate, and every write is guarded by the version. So the order of the events,
//! duplicates and the number of projectors make no difference to the read models.

pub(crate) mod announcements;
pub(crate) mod batch;
mod columns;
pub(crate) mod store;

use std::time::Duration;

use contracts::Queue;
use messaging::inbox::{self, Job};
use messaging::wakeup::{Wakeup, gather};
use runtime::backoff::Backoff;
use runtime::database::{limited, refuses_the_data};
use runtime::{Clock, Tasks, faults};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;
use announcements::Announcements;
use batch::{Batch, Undecodable};
use store::Models;

/// Waits between attempts while the database fails.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// What one [`Projector::tick`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No event was ready, or the queue is paused.
    Idle,
    /// The events are in the read models, or dead because they can never be applied.
    Applied { events: usize, dead_lettered: usize },
    /// The database refused the data of the batch. Nothing was applied, and the next batch is smaller, until the event that
    /// causes the refusal is alone.
    Narrowed,
}

/// Applies the events of the inbox queue `projections`.
#[derive(Debug)]
pub struct Projector {
    messaging: PgPool,
    /// `None`: the read models are in the same database as the inbox.
    read: Option<PgPool>,
    clock: Clock,
    announcements: Announcements,
    poll: Duration,
    max_batch: i64,
    /// Size of the next batch: `max_batch`, unless a batch was refused.
    next_batch: i64,
}

impl Projector {
    /// A projector without a loop, for tests and tools; the process starts its own in [`crate::start`].
    pub fn new(messaging: PgPool, read: Option<PgPool>, settings: &Settings, clock: Clock) -> Self {
        Self::announcing(messaging, read, settings, clock, Announcements::new())
    }

    pub(crate) fn announcing(
        messaging: PgPool,
        read: Option<PgPool>,
        settings: &Settings,
        clock: Clock,
        announcements: Announcements,
    ) -> Self {
        let max_batch = settings.projection_batch;
        let poll = settings.projection_poll();
        Self { messaging, read, clock, announcements, poll, max_batch, next_batch: max_batch }
    }

    /// Runs the projector as a task of the process.
    pub(crate) fn start(self, tasks: &Tasks) {
        let wakeup = Wakeup::start(&self.messaging, inbox::channel(Queue::Projections), tasks);
        tasks.spawn("projector", self.run(wakeup, tasks.shutdown.clone()));
    }

    /// Projects until shutdown. Shutdown waits for the current tick, which is limited in time.
    async fn run(mut self, mut wakeup: Wakeup, shutdown: CancellationToken) {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let (started, full) = (Instant::now(), usize::try_from(self.next_batch).unwrap_or(usize::MAX));
            match limited(self.tick()).await {
                Ok(outcome) => {
                    failures = 0;
                    let caught_up = match outcome {
                        // There may be more.
                        Outcome::Narrowed => continue,
                        Outcome::Applied { events, dead_lettered } if events + dead_lettered >= full => continue,
                        Outcome::Applied { .. } => true,
                        Outcome::Idle => false,
                    };
                    // Events that arrived during the tick have sent their own wake-up.
                    let wait = async {
                        if caught_up {
                            gather(started).await;
                        }
                        wakeup.wait(self.poll).await;
                    };
                    tokio::select! { () = shutdown.cancelled() => {}, () = wait => {} }
                }
                Err(error) => {
                    failures += 1;
                    let pause = RETRY.delay(failures);
                    tracing::error!(%error, retry_in_ms = pause.as_millis(), "projection failed");
                    tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
                }
            }
        }
    }

    /// Takes one batch and applies it.
    ///
    /// # Errors
    /// The database failed; the events stay in the queue.
    pub async fn tick(&mut self) -> sqlx::Result<Outcome> {
        let mut inbox_tx = self.messaging.begin().await?;
        let jobs = inbox::take_batch(&mut inbox_tx, Queue::Projections, self.next_batch).await?;
        if jobs.is_empty() {
            inbox_tx.rollback().await?;
            return Ok(Outcome::Idle);
        }
        let (batch, undecodable) = Batch::decode(&jobs);
        if let Err(error) = self.write(&mut inbox_tx, &batch).await {
            inbox_tx.rollback().await?;
            return if refuses_the_data(&error) { self.narrow(&jobs, &error).await } else { Err(error) };
        }
        for (job, reason) in &undecodable {
            dead_letter(&mut inbox_tx, job, &reason.to_string()).await?;
        }
        inbox::finish_batch(&mut inbox_tx, Queue::Projections, batch.event_ids()).await?;
        faults::point("projector.batch.ready");
        inbox_tx.commit().await?;
        faults::point("projector.batch.committed");

        self.next_batch = (self.next_batch * 2).min(self.max_batch);
        self.announcements.send(|| batch.documents());
        self.record(&jobs, &undecodable);
        Ok(Outcome::Applied { events: jobs.len() - undecodable.len(), dead_lettered: undecodable.len() })
    }

    /// In one database the read models and the inbox commit together. With a read database of its own, the read models
    /// commit first: after a crash in between the batch comes again, and the version guards make that harmless. In the
    /// opposite order a crash would lose the events.
    #[tracing::instrument(name = "read_model.batch.write", skip_all, fields(events = batch.event_ids().len()))]
    async fn write(&self, inbox_tx: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
        match &self.read {
            None => write_models(inbox_tx, batch).await,
            Some(read) => {
                let mut read_tx = read.begin().await?;
                write_models(&mut read_tx, batch).await?;
                read_tx.commit().await?;
                faults::point("projector.models.committed");
                Ok(())
            }
        }
    }

    /// After a refusal the next batch is half as large; an event that is refused alone is dead.
    async fn narrow(&mut self, jobs: &[Job], error: &sqlx::Error) -> sqlx::Result<Outcome> {
        if let [job] = jobs {
            let mut conn = self.messaging.acquire().await?;
            dead_letter(&mut conn, job, &error.to_string()).await?;
            return Ok(Outcome::Applied { events: 0, dead_lettered: 1 });
        }
        self.next_batch = i64::try_from(jobs.len() / 2).unwrap_or(1).max(1);
        tracing::warn!(%error, events = jobs.len(), next_batch = self.next_batch, "batch refused, trying a smaller one");
        Ok(Outcome::Narrowed)
    }

    fn record(&self, jobs: &[Job], undecodable: &[(&Job, Undecodable)]) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is at most 10,000 events")]
        metrics::histogram!("projection_batch_size").record(jobs.len() as f64);
        metrics::counter!("projection_events_total").increment((jobs.len() - undecodable.len()) as u64);
        if let Some(last) = jobs.iter().map(|job| job.occurred_at).max() {
            // The clock of another machine may be ahead; a lag is never negative.
            let lag = (self.clock.now() - last).to_std().unwrap_or_default();
            metrics::gauge!("projection_lag_seconds").set(lag.as_secs_f64());
        }
    }
}

/// Writes the live read models and, during a rebuild, the rebuilt ones as well, so that a rebuild misses no new event.
async fn write_models(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let rebuilding = store::is_rebuild_running(conn).await?;
    store::write(conn, Models::Live, batch).await?;
    if rebuilding {
        store::write(conn, Models::Rebuilt, batch).await?;
    }
    Ok(())
}

async fn dead_letter(conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
    tracing::error!(alert = true, event.id = %job.event_id, event.type = job.event_type, reason, "event dead-lettered");
    metrics::counter!("projection_events_dead_lettered_total").increment(1);
    inbox::dead_letter(conn, Queue::Projections, job.event_id, reason).await
}
