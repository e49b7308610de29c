//! Events → read models.
//!
//! The projector follows the log ([`follower`]). An event carries the full state of its aggregate, and every write is guarded by the version. So the order of the events,
//! duplicates and the number of projectors make no difference to the read models.

pub(crate) mod announcements;
pub(crate) mod batch;
mod columns;
pub(crate) mod follower;
pub(crate) mod store;

use std::collections::HashMap;
use std::time::Duration;

use contracts::Queue;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::{self, Job, RetriedFrom};
use messaging::log::{self, Payload};
use messaging::unknown;
use runtime::database::refuses_the_data;
use runtime::{Clock, faults, telemetry};
use sqlx::{PgConnection, PgPool};
use tracing::Instrument;
use uuid::Uuid;

use announcements::Announcements;
use batch::{Batch, Undecodable};
use store::Models;

/// Retried events in one transaction: they come whole, however large they are.
const MOST_RETRIED: i64 = 100;

/// Why an event was not applied.
#[derive(Debug)]
enum NotApplied {
    /// It never can be.
    Dead(String),
    /// This release does not know it.
    Unknown(String),
}

/// The events that were not applied.
type LeftOut = HashMap<Uuid, NotApplied>;

/// Applies events to the read models.
#[derive(Debug)]
pub struct Projector {
    messaging: PgPool,
    /// `None`: the read models are in the same database as the outbox.
    read: Option<PgPool>,
    clock: Clock,
    announcements: Announcements,
}

impl Projector {
    /// A projector without a loop, for tests and tools; the process starts its own in [`crate::start`].
    pub fn new(messaging: PgPool, read: Option<PgPool>, clock: Clock) -> Self {
        Self::announcing(messaging, read, clock, Announcements::new())
    }

    pub(crate) const fn announcing(
        messaging: PgPool,
        read: Option<PgPool>,
        clock: Clock,
        announcements: Announcements,
    ) -> Self {
        Self { messaging, read, clock, announcements }
    }

    /// Applies events by their ids, in the given order. Returns how many were not applied, because they are dead or unknown.
    ///
    /// # Errors
    /// The database failed; some of the events may be applied.
    pub async fn apply_events(&self, ids: &[Uuid]) -> sqlx::Result<usize> {
        let mut jobs = log::events(&self.messaging, ids, Payload::Whole, i64::MAX).await?;
        jobs.sort_by_key(|job| ids.iter().position(|id| *id == job.event_id));
        self.apply(&jobs).await
    }

    /// Applies events, and records those that it left out: dead, or put off. Returns how many it left out.
    ///
    /// # Errors
    /// As [`Projector::apply_events`].
    pub async fn apply(&self, jobs: &[Job]) -> sqlx::Result<usize> {
        let left_out = self.write(jobs).await?;
        if !left_out.is_empty() {
            let mut tx = self.messaging.begin().await?;
            record(&mut tx, jobs, &left_out, |_new| Duration::ZERO).await?;
            tx.commit().await?;
        }
        Ok(left_out.len())
    }

    /// Applies the dead events that an operator has retried, and those that were put off. Returns how many there were.
    async fn apply_retried(&self, from: &RetriedFrom, limit: i64) -> sqlx::Result<usize> {
        let mut tx = self.messaging.begin().await?;
        let jobs = inbox::take_retried(&mut tx, from, limit.min(MOST_RETRIED)).await?;
        let left_out = self.write(&jobs).await?;
        let now = self.clock.now();
        record(&mut tx, &jobs, &left_out, |job| (now - job.received_at).to_std().unwrap_or_default()).await?;
        let done: Vec<Uuid> = jobs.iter().map(|job| job.event_id).filter(|id| !left_out.contains_key(id)).collect();
        inbox::finish_retried(&mut tx, Queue::Projections, &done).await?;
        tx.commit().await?;
        Ok(jobs.len())
    }

    /// Writes the read models of the events in one transaction.
    ///
    /// When the database refuses the data, each half is written alone, until the event that causes the refusal is alone. It
    /// is dead, and so are the undecodable ones.
    fn write<'a>(&'a self, jobs: &'a [Job]) -> BoxFuture<'a, sqlx::Result<LeftOut>> {
        async move {
            let (batch, undecodable) = Batch::decode(jobs);
            match self.write_batch(jobs, &batch).await {
                Err(error) if refuses_the_data(&error) => {
                    if let [job] = jobs {
                        return Ok(LeftOut::from([(job.event_id, NotApplied::Dead(error.to_string()))]));
                    }
                    tracing::warn!(%error, events = jobs.len(), "batch refused, trying its halves");
                    let (first, second) = jobs.split_at(jobs.len() / 2);
                    let mut left_out = self.write(first).await?;
                    left_out.extend(self.write(second).await?);
                    return Ok(left_out);
                }
                written => written?,
            }
            self.announcements.send(|| batch.documents());
            self.measure(jobs);
            let reasons = undecodable.into_iter().map(|(job, reason)| match reason {
                Undecodable::Unknown(reason) => (job.event_id, NotApplied::Unknown(reason)),
                reason => (job.event_id, NotApplied::Dead(reason.to_string())),
            });
            Ok(reasons.collect())
        }
        .boxed()
    }

    /// One span for the batch, with links to the traces of its events.
    async fn write_batch(&self, jobs: &[Job], batch: &Batch<'_>) -> sqlx::Result<()> {
        let span = tracing::info_span!(
            parent: None,
            "read_model.batch.write",
            otel.kind = "consumer",
            otel.name = "process projections",
            events = batch.event_ids().len(),
        );
        let traceparents = jobs.iter().map(|job| job.headers.traceparent.as_deref());
        telemetry::take_messages(&span, Queue::Projections.as_str(), traceparents);
        let written = self.try_write_batch(batch).instrument(span.clone()).await;
        if written.is_err() {
            telemetry::fail(&span, "database");
        }
        written
    }

    #[tracing::instrument(
        name = "read_model.rows.write",
        skip_all,
        fields(
            otel.kind = "client",
            otel.name = "INSERT read models",
            db.system.name = "postgresql",
            db.operation.name = "INSERT",
            db.query.summary = "INSERT read models",
        )
    )]
    async fn try_write_batch(&self, batch: &Batch<'_>) -> sqlx::Result<()> {
        let mut tx = self.read.as_ref().unwrap_or(&self.messaging).begin().await?;
        write_models(&mut tx, batch).await?;
        faults::point("projector.batch.ready");
        tx.commit().await?;
        faults::point("projector.batch.committed");
        Ok(())
    }

    fn measure(&self, jobs: &[Job]) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is at most 10,000 events")]
        metrics::histogram!("projection_batch_size").record(jobs.len() as f64);
        metrics::counter!("projection_events_total").increment(jobs.len() as u64);
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

/// Records the events that were left out. An unknown one that has `waited` for too long is dead.
async fn record(
    conn: &mut PgConnection,
    jobs: &[Job],
    left_out: &LeftOut,
    waited: impl Fn(&Job) -> Duration + Send + Sync,
) -> sqlx::Result<()> {
    for job in jobs {
        let reason = match left_out.get(&job.event_id) {
            None => continue,
            Some(NotApplied::Unknown(reason)) if waited(job) < unknown::WITHIN => {
                let wait = unknown::wait(waited(job));
                tracing::warn!(event.id = %job.event_id, reason, retry_in = ?wait, "event put off");
                inbox::postpone(conn, job, reason, wait).await?;
                continue;
            }
            Some(NotApplied::Dead(reason) | NotApplied::Unknown(reason)) => reason,
        };
        tracing::error!(alert = true, event.id = %job.event_id, event.type = job.event_type, reason, "event dead-lettered");
        metrics::counter!("projection_events_dead_lettered_total").increment(1);
        inbox::dead_letter(conn, job, reason).await?;
    }
    Ok(())
}
