//! One attempt at one job: heartbeats while the handler works, and the record of how it ended.

use runtime::database::limited;
use tracing::Instrument;

use super::handler::{Completed, DeadJob, Failure, Handler};
use super::{HEARTBEAT, LEASE, Worker};
use crate::inbox::{self, Job, Next};

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Retried,
    InDoubt,
    Dead,
    LeaseLost,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::InDoubt => "in_doubt",
            Self::Dead => "dead",
            Self::LeaseLost => "lease_lost",
        }
    }
}

impl<H: Handler> Worker<H> {
    /// Does one claimed job and records how it ended.
    pub(super) async fn attempt(&self, job: Job) -> Outcome {
        let span = tracing::info_span!(
            "worker.job.run",
            queue = %job.queue,
            event.id = %job.event_id,
            event.kind = %job.event_type,
            aggregate.id = %job.aggregate_id,
            attempt = job.attempts,
            request_id = job.headers.request_id.as_deref().unwrap_or_default(),
        );
        runtime::telemetry::continue_trace(&span, job.headers.traceparent.as_deref());
        self.attempt_in_span(job).instrument(span).await
    }

    async fn attempt_in_span(&self, job: Job) -> Outcome {
        let started = std::time::Instant::now();
        let waited = (job.received_at - job.occurred_at).to_std().unwrap_or_default();
        metrics::histogram!("inbox_delivery_seconds", "queue" => job.queue.as_str()).record(waited);
        let result = if let Some(reason) = &job.undecodable {
            Err(Failure::Dead(reason.clone()))
        } else if self.config.policy.allows_another(job.attempts - 1) {
            self.with_heartbeat(&job).await
        } else {
            // Claimed once more after its worker died during the last attempt.
            Err(Failure::Dead(format!("gave up after {} attempts", job.attempts - 1)))
        };
        let outcome = match result {
            Ok(Completed { .. }) => Outcome::Done,
            Err(failure) => self.settle(&job, failure).await,
        };
        if let (Some(relay), Outcome::Done | Outcome::Dead) = (&self.config.relay, outcome) {
            relay.send();
        }
        metrics::histogram!("inbox_job_duration_seconds", "queue" => job.queue.as_str()).record(started.elapsed());
        metrics::counter!("inbox_jobs_total", "queue" => job.queue.as_str(), "outcome" => outcome.name()).increment(1);
        outcome
    }

    async fn with_heartbeat(&self, job: &Job) -> Result<Completed, Failure> {
        let mut work = std::pin::pin!(self.handler.handle(job));
        let mut beats = std::pin::pin!(self.keep_lease(job));
        tokio::select! {
            result = &mut work => result,
            // The handler is never cancelled half-way: if the lease is gone, its completion will be refused.
            () = &mut beats => work.await,
        }
    }

    /// Returns when the lease is lost.
    async fn keep_lease(&self, job: &Job) {
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        loop {
            beat.tick().await;
            match tokio::time::timeout(HEARTBEAT, inbox::extend_lease(&self.pool, job, LEASE)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return tracing::warn!("lease lost while working"),
                Ok(Err(error)) => tracing::warn!(%error, "heartbeat failed"),
                Err(_elapsed) => tracing::warn!("heartbeat not answered within {HEARTBEAT:?}"),
            }
        }
    }

    /// Records a failure. If that fails too, the lease expires and the job comes back as in doubt.
    async fn settle(&self, job: &Job, failure: Failure) -> Outcome {
        let reason = failure.to_string();
        let retry = self.config.policy.allows_another(job.attempts);
        let (next, outcome) = match failure {
            Failure::LeaseLost => return Outcome::LeaseLost,
            Failure::Retry(_) if retry => (Next::Retry(self.config.policy.delay(job.attempts)), Outcome::Retried),
            Failure::InDoubt(_) if retry => (Next::LookUp(self.config.policy.delay(job.attempts)), Outcome::InDoubt),
            Failure::Retry(_) | Failure::InDoubt(_) | Failure::Dead(_) => (Next::Dead, Outcome::Dead),
        };
        match limited(self.record_failure(job, &reason, next)).await {
            Ok(true) => {}
            Ok(false) => return Outcome::LeaseLost,
            Err(error) => {
                tracing::warn!(%error, %reason, "could not record the failure; the lease will expire");
                return Outcome::LeaseLost;
            }
        }
        match next {
            Next::Dead => self.report_dead(job, reason),
            Next::Retry(delay) | Next::LookUp(delay) => {
                tracing::warn!(%reason, retry_in = ?delay, "job failed; will be retried");
            }
        }
        outcome
    }

    async fn record_failure(&self, job: &Job, reason: &str, next: Next) -> sqlx::Result<bool> {
        let mut tx = self.pool.begin().await?;
        if !inbox::fail(&mut tx, job, reason, next).await? {
            return Ok(false);
        }
        if next == Next::Dead {
            self.handler.dead_lettered(&mut tx, job, reason).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    fn report_dead(&self, job: &Job, reason: String) {
        tracing::error!(alert = true, %reason, "job is dead");
        let dead = DeadJob {
            queue: job.queue,
            event_id: job.event_id,
            event_type: job.event_type.clone(),
            aggregate_id: job.aggregate_id,
            attempts: job.attempts,
            reason,
        };
        // The receiver is gone only while the process ends; the log line above has been written.
        let _closed = self.config.dead_jobs.send(dead);
    }
}
