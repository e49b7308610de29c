//! One attempt at one job, and the record of how it ended.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use runtime::database::limited;
use tokio::time::Instant;
use tracing::Instrument;

use super::handler::{DeadJob, Failure, Handler};
use super::{GiveBack, Worker};
use crate::inbox::{self, Job, Next};

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Retried,
    InDoubt,
    Dead,
    LeaseLost,
    /// It failed, and that could not be recorded. The job is given back once the database answers.
    Unrecorded,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::InDoubt => "in_doubt",
            Self::Dead => "dead",
            Self::LeaseLost => "lease_lost",
            Self::Unrecorded => "unrecorded",
        }
    }
}

impl<H: Handler> Worker<H> {
    /// Does one claimed job and records how it ended. The handler is never cancelled half-way: if the lease is lost
    /// meanwhile, its completion is refused.
    pub(super) async fn attempt(&self, job: Job) -> Outcome {
        let (event_id, claim_id) = (job.event_id, job.claim_id);
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
        let outcome = self.attempt_in_span(job).instrument(span).await;
        let is_recorded = match outcome {
            Outcome::LeaseLost | Outcome::Unrecorded => false,
            Outcome::Done | Outcome::Retried | Outcome::InDoubt | Outcome::Dead => {
                self.running.ended(claim_id, event_id)
            }
        };
        if !is_recorded {
            // The job may still run under our claim: a worker whose lease is about to expire gives up before its effect, and
            // a new server may not have the record. What another worker has is not touched.
            self.give_back_later(GiveBack { claim_id, event_id: Some(event_id), not_before: Instant::now() });
        }
        outcome
    }

    async fn attempt_in_span(&self, job: Job) -> Outcome {
        let started = Instant::now();
        let waited = (job.received_at - job.occurred_at).to_std().unwrap_or_default();
        metrics::histogram!("inbox_delivery_seconds", "queue" => job.queue.as_str()).record(waited);
        let result = if let Some(reason) = &job.undecodable {
            Err(Failure::Dead(reason.clone()))
        } else if self.config.policy.allows_another(job.attempts - 1) {
            // A panic must not leave the job running for as long as the worker lives.
            match AssertUnwindSafe(self.handler.handle(&job)).catch_unwind().await {
                Ok(Ok(completed)) => self.completions.complete(&job, completed).await,
                Ok(Err(failure)) => Err(failure),
                Err(_panic) => Err(Failure::InDoubt("the handler panicked; the log says where".to_owned())),
            }
        } else {
            // Claimed once more after its worker died during the last attempt.
            Err(Failure::Dead(format!("gave up after {} attempts", job.attempts - 1)))
        };
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(failure) => self.settle(&job, failure).await,
        };
        if let (Some(relay), Outcome::Done | Outcome::Dead) = (&self.config.relay, outcome) {
            relay.send();
        }
        metrics::histogram!("inbox_job_duration_seconds", "queue" => job.queue.as_str()).record(started.elapsed());
        metrics::counter!("inbox_jobs_total", "queue" => job.queue.as_str(), "outcome" => outcome.name()).increment(1);
        outcome
    }

    /// Records a failure. If that fails too, the job is given back later, as in doubt.
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
                tracing::warn!(%error, %reason, "could not record the failure; the job is given back later");
                return Outcome::Unrecorded;
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
