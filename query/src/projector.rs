//! Events → read models.
//!
//! An event carries the full state of its aggregate, and every write is guarded by the version. So the
//! projector does not care in which order events come, how often, or how many projectors run.

pub(crate) mod batch;
pub(crate) mod store;

use std::time::Duration;

use contracts::Queue;
use messaging::inbox::{self, Job};
use messaging::wakeup::{Wakeup, gather};
use runtime::database::{limited, refuses_the_data};
use runtime::{Clock, Tasks, faults};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::applied::Applied;
use crate::rebuild;
use crate::settings::Settings;
use batch::{Batch, Poison};
use store::Models;

/// Waits between attempts while the database fails: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What one [`Projector::tick`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No event was ready (or the queue is paused).
    Idle,
    /// The events are in the read model, or buried because they can never be.
    Applied { events: usize, buried: usize },
    /// The database refused the batch for what is in it; nothing was applied, and the next batch is smaller, so
    /// that the event which is to blame ends up alone.
    Narrowed,
}

/// Applies the events of the inbox queue `projections`.
#[derive(Debug)]
pub struct Projector {
    messaging: PgPool,
    /// `None`: the read models are in the same database as the inbox.
    read: Option<PgPool>,
    clock: Clock,
    applied: Applied,
    poll: Duration,
    largest: i64,
    /// Size of the next batch: `largest`, unless a batch was refused.
    limit: i64,
}

impl Projector {
    /// A projector alone, as tests and tools want it; the process starts its own in [`crate::start`].
    pub fn new(messaging: PgPool, read: Option<PgPool>, settings: &Settings, clock: Clock) -> Self {
        Self::announcing(messaging, read, settings, clock, Applied::new())
    }

    pub(crate) fn announcing(
        messaging: PgPool,
        read: Option<PgPool>,
        settings: &Settings,
        clock: Clock,
        applied: Applied,
    ) -> Self {
        let largest = settings.projection_batch;
        Self { messaging, read, clock, applied, poll: settings.projection_poll(), largest, limit: largest }
    }

    /// Runs the projector as a task of the process.
    pub(crate) fn start(self, tasks: &Tasks) {
        let wakeup = Wakeup::start(&self.messaging, inbox::channel(Queue::Projections), tasks);
        tasks.spawn("projector", self.run(wakeup, tasks.shutdown.clone()));
    }

    /// Projects until shutdown. A tick that has begun is finished, unless the database has forgotten it.
    async fn run(mut self, mut wakeup: Wakeup, shutdown: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        while !shutdown.is_cancelled() {
            let (begun, full) = (Instant::now(), usize::try_from(self.limit).unwrap_or(usize::MAX));
            match limited(self.tick()).await {
                Ok(outcome) => {
                    pause = FIRST_PAUSE;
                    let caught_up = match outcome {
                        // There may be more.
                        Outcome::Narrowed => continue,
                        Outcome::Applied { events, buried } if events + buried >= full => continue,
                        Outcome::Applied { .. } => true,
                        Outcome::Idle => false,
                    };
                    // Whatever came while the batch was applied has sent a hint of its own.
                    let hint = async {
                        if caught_up {
                            gather(begun).await;
                        }
                        wakeup.wait(self.poll).await;
                    };
                    tokio::select! { () = shutdown.cancelled() => {}, () = hint => {} }
                }
                Err(error) => {
                    tracing::error!(%error, retry_in_ms = pause.as_millis(), "projection failed");
                    tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Takes one batch and applies it.
    ///
    /// # Errors
    /// The database failed; nothing was taken off the queue.
    pub async fn tick(&mut self) -> sqlx::Result<Outcome> {
        let mut taken = self.messaging.begin().await?;
        let jobs = inbox::take_batch(&mut taken, Queue::Projections, self.limit).await?;
        if jobs.is_empty() {
            taken.rollback().await?;
            return Ok(Outcome::Idle);
        }
        let (batch, poisoned) = Batch::decode(&jobs);
        if let Err(error) = self.write(&mut taken, &batch).await {
            taken.rollback().await?;
            return if refuses_the_data(&error) { self.narrow(&jobs, &error).await } else { Err(error) };
        }
        for (job, poison) in &poisoned {
            bury(&mut taken, job, &poison.to_string()).await?;
        }
        inbox::finish_batch(&mut taken, Queue::Projections, batch.event_ids()).await?;
        faults::point("projector.batch.ready");
        taken.commit().await?;
        faults::point("projector.batch.committed");

        self.limit = (self.limit * 2).min(self.largest);
        self.applied.announce(|| batch.documents());
        self.record(&jobs, &poisoned);
        Ok(Outcome::Applied { events: jobs.len() - poisoned.len(), buried: poisoned.len() })
    }

    /// In one database the read models and the inbox commit together. With a read database of its own, the read
    /// models commit first: after a crash in between the batch comes again, and the version guards make that
    /// harmless. The other way round the events would be lost.
    #[tracing::instrument(name = "read_model.batch.write", skip_all, fields(events = batch.event_ids().len()))]
    async fn write(&self, taken: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
        match &self.read {
            None => write_models(taken, batch).await,
            Some(read) => {
                let mut transaction = read.begin().await?;
                write_models(&mut transaction, batch).await?;
                transaction.commit().await?;
                faults::point("projector.models.committed");
                Ok(())
            }
        }
    }

    /// After a refusal: half the batch next time; an event that is refused alone is buried.
    async fn narrow(&mut self, jobs: &[Job], error: &sqlx::Error) -> sqlx::Result<Outcome> {
        if let [job] = jobs {
            let mut conn = self.messaging.acquire().await?;
            bury(&mut conn, job, &error.to_string()).await?;
            return Ok(Outcome::Applied { events: 0, buried: 1 });
        }
        self.limit = i64::try_from(jobs.len() / 2).unwrap_or(1).max(1);
        tracing::warn!(%error, events = jobs.len(), next = self.limit, "batch refused, narrowing it down");
        Ok(Outcome::Narrowed)
    }

    fn record(&self, jobs: &[Job], poisoned: &[(&Job, Poison)]) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is at most 10,000 events")]
        metrics::histogram!("projection_batch_size").record(jobs.len() as f64);
        metrics::counter!("projection_events_total").increment((jobs.len() - poisoned.len()) as u64);
        if let Some(last) = jobs.iter().map(|job| job.occurred_at).max() {
            // A clock of another machine may be ahead; a lag is never negative.
            let lag = (self.clock.now() - last).to_std().unwrap_or_default();
            metrics::gauge!("projection_lag_seconds").set(lag.as_secs_f64());
        }
    }
}

/// The live read models and, while others are being made, those as well: so these miss nothing that comes meanwhile.
async fn write_models(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let rebuilding = rebuild::is_under_way(conn).await?;
    store::write(conn, Models::Live, batch).await?;
    if rebuilding {
        store::write(conn, Models::Rebuilt, batch).await?;
    }
    Ok(())
}

async fn bury(conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
    tracing::error!(alert = true, event.id = %job.event_id, event.type = job.event_type, reason, "event buried");
    metrics::counter!("projection_events_buried_total").increment(1);
    inbox::dead_letter(conn, Queue::Projections, job.event_id, reason).await
}
