//! One attempt at one job, and the record of how it ended.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use runtime::database::limited;
use runtime::metrics::Durations;
use runtime::telemetry::{self, Cause, Message};
use runtime::{Clock, faults};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::handler::{Failure, Handler};
use super::{GiveBack, Worker};
use crate::inbox::{self, Job, Next};
use crate::unknown;

/// A job is dead when so many processes have died while they ran it: the first one with other jobs beside it, the others with
/// this job alone.
const MOST_DEATHS: i16 = 4;

/// How long a job waits that was interrupted: as long as it is old, within these bounds.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(60);

/// From the commit of an event to its inbox.
static DELIVERY: Durations = Durations::new("inbox_delivery_seconds", "queue");
/// From the commit of an event to the start of its first attempt.
static START: Durations = Durations::new("inbox_start_seconds", "queue");
/// Of one attempt.
static DURATION: Durations = Durations::new("inbox_job_duration_seconds", "queue");

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Retried,
    InDoubt,
    /// The dependency of its queue is down.
    Unavailable,
    /// Something that it needs does not exist yet.
    NotYet,
    /// Another has taken it over.
    UnderWay,
    /// The database was lost on the way.
    Interrupted,
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
            Self::Unavailable => "unavailable",
            Self::NotYet => "not_yet",
            Self::UnderWay => "under_way",
            Self::Interrupted => "interrupted",
            Self::Dead => "dead",
            Self::LeaseLost => "lease_lost",
            Self::Unrecorded => "unrecorded",
        }
    }

    /// Whether the attempt failed, and not only waits for something.
    const fn is_error(self) -> bool {
        !matches!(self, Self::Done | Self::NotYet | Self::UnderWay)
    }
}

impl<H: Handler> Worker<H> {
    /// Does one claimed job and records how it ended. The handler is never cancelled half-way: if the lease is lost
    /// meanwhile, its completion is refused.
    pub(super) async fn attempt(&self, job: Job) -> Outcome {
        let (event_id, claim_id) = (job.event_id, job.claim_id);
        let _turn = self.config.isolation.turn(job.is_suspect()).await;
        let span = tracing::info_span!(
            parent: None,
            "worker.job.run",
            otel.kind = "consumer",
            otel.name = self.span_name.as_str(),
            queue = %job.queue,
            event.id = %job.event_id,
            event.kind = %job.event_type,
            aggregate.id = %job.aggregate_id,
            attempt = job.attempts,
            request_id = job.headers.request_id.as_deref().unwrap_or_default(),
        );
        self.trace(&span, &job);
        let outcome = self.attempt_in_span(job).instrument(span).await;
        let is_recorded = match outcome {
            Outcome::LeaseLost | Outcome::Unrecorded => false,
            Outcome::Done
            | Outcome::Retried
            | Outcome::InDoubt
            | Outcome::Unavailable
            | Outcome::NotYet
            | Outcome::UnderWay
            | Outcome::Interrupted
            | Outcome::Dead => self.running.ended(claim_id, event_id),
        };
        if !is_recorded {
            // The job may still run under our claim: a worker whose lease is about to expire gives up before its effect, and
            // a new server may not have the record. What another worker has is not touched.
            self.give_back_later(GiveBack { claim_id, event_id: Some(event_id), not_before: Instant::now() });
        }
        outcome
    }

    /// The first attempt belongs to the trace of the command; a later one, also an operator's, has its own and a link back.
    fn trace(&self, span: &Span, job: &Job) {
        let traceparent = job.headers.traceparent.as_deref();
        let cause = if job.is_first { Cause::Parent(traceparent) } else { Cause::Link(traceparent) };
        telemetry::follow(span, cause);
        let (system, destination) = (self.config.system, job.queue.as_str());
        let message = Message { system, destination, id: job.event_id, event: &job.event_type };
        telemetry::job_received(span, &message, job.received_at);
        if let Some(at) = job.started_at {
            telemetry::started_at(span, at);
        }
    }

    async fn attempt_in_span(&self, job: Job) -> Outcome {
        let started = Instant::now();
        let waited = (job.received_at - job.occurred_at).to_std().unwrap_or_default();
        let queue = job.queue.as_str();
        DELIVERY.record(queue, waited);
        if job.attempts == 1 {
            START.record(queue, age(&job));
        }
        let outcome = match self.carry_out(&job).await {
            Ok(finished_at) => {
                telemetry::finished_at(&Span::current(), finished_at);
                Outcome::Done
            }
            Err(failure) => self.settle(&job, failure).await,
        };
        if outcome.is_error() {
            telemetry::fail(&Span::current(), outcome.name());
        }
        if job.probes.is_some() {
            self.judge_probe(outcome).await;
        }
        if let (Some(relay), Outcome::Done | Outcome::Dead) = (&self.config.relay, outcome) {
            relay.send();
        }
        DURATION.record(queue, started.elapsed());
        metrics::counter!("inbox_jobs_total", "queue" => job.queue.as_str(), "outcome" => outcome.name()).increment(1);
        outcome
    }

    /// Does the job, unless it is clear that it cannot be done. Returns when it was done.
    async fn carry_out(&self, job: &Job) -> Result<DateTime<Utc>, Failure> {
        if let Some(reason) = &job.undecodable {
            return Err(Failure::Dead(reason.clone()));
        }
        if let Some(why) = &job.unknown {
            return Err(Failure::NotYet { why: why.clone(), within: unknown::WITHIN });
        }
        if job.deaths >= MOST_DEATHS {
            let deaths = job.deaths;
            return Err(Failure::Dead(format!(
                "{deaths} worker processes died while they ran this job, all but the first while they ran nothing else"
            )));
        }
        if !self.config.policy.allows_another(job.attempts - 1) {
            // Given back after the last attempt, whose end could not be recorded.
            return Err(Failure::Dead(format!("gave up after {} attempts", job.attempts - 1)));
        }
        if job.is_suspect() && !limited(inbox::start_alone(&self.pool, job)).await? {
            return Err(Failure::LeaseLost);
        }
        faults::point_of("worker.job.started", job.event_id);
        // A panic must not leave the job running for as long as the worker lives.
        match AssertUnwindSafe(self.handler.handle(job)).catch_unwind().await {
            Ok(Ok(completed)) => self.completions.complete(job, completed).await,
            Ok(Err(failure)) => Err(failure),
            Err(_panic) => Err(Failure::InDoubt("the handler panicked; the log says where".to_owned())),
        }
    }

    /// Ends the outage when the probe has shown that the dependency works.
    async fn judge_probe(&self, outcome: Outcome) {
        let queue = self.config.queue;
        let judged = match outcome {
            // Its failure has been noted.
            Outcome::Unavailable => return,
            Outcome::Done | Outcome::Retried | Outcome::InDoubt | Outcome::UnderWay | Outcome::Dead => {
                limited(inbox::end_outage(&self.pool, queue)).await.map(|ended| {
                    if ended {
                        tracing::info!(%queue, "the dependency of the queue works again");
                    }
                })
            }
            Outcome::NotYet | Outcome::Interrupted | Outcome::LeaseLost | Outcome::Unrecorded => {
                limited(inbox::probe_again(&self.pool, queue)).await
            }
        };
        if let Err(error) = judged {
            tracing::warn!(%queue, %error, "could not record what came of the probe; another job will probe");
        }
    }

    /// Records a failure. If that fails too, the job is given back later, as in doubt.
    async fn settle(&self, job: &Job, failure: Failure) -> Outcome {
        let reason = failure.to_string();
        let policy = self.config.policy;
        let retry = policy.allows_another(job.attempts);
        let (next, outcome) = match &failure {
            Failure::LeaseLost => return Outcome::LeaseLost,
            Failure::Retry(_) if retry => (Next::Retry(policy.wait(job.attempts)), Outcome::Retried),
            Failure::InDoubt(_) if retry => (Next::LookUp(policy.wait(job.attempts)), Outcome::InDoubt),
            Failure::Interrupted(_) => (Next::Again(age(job).clamp(SOON, LATE)), Outcome::Interrupted),
            Failure::Unavailable(_) => {
                let failures = job.probes.unwrap_or(0).unsigned_abs() + 1;
                (Next::Later(policy.pauses().ceiling(failures)), Outcome::Unavailable)
            }
            Failure::NotYet { within, .. } if age(job) < *within => {
                (Next::Later(unknown::wait(age(job))), Outcome::NotYet)
            }
            Failure::UnderWay { since, .. } => (Next::Later(unknown::wait(elapsed(*since))), Outcome::UnderWay),
            Failure::Retry(_) | Failure::InDoubt(_) | Failure::NotYet { .. } | Failure::Dead(_) => {
                (Next::Dead, Outcome::Dead)
            }
        };
        match limited(self.record_failure(job, &failure, next, outcome)).await {
            Ok(true) => {}
            Ok(false) => return Outcome::LeaseLost,
            Err(error) => {
                tracing::warn!(%error, %reason, "could not record the failure; the job is given back later");
                return Outcome::Unrecorded;
            }
        }
        match next {
            Next::Dead => tracing::error!(alert = true, %reason, "job is dead"),
            Next::Retry(delay) | Next::LookUp(delay) if policy.goes_on_after(job.attempts) => {
                tracing::error!(alert = true, %reason, retry_in = ?delay, "all retries have failed; the job goes on");
            }
            Next::Retry(delay) | Next::LookUp(delay) | Next::Later(delay) | Next::Again(delay) => {
                tracing::warn!(%reason, retry_in = ?delay, "job failed; will be retried");
            }
        }
        outcome
    }

    async fn record_failure(&self, job: &Job, failure: &Failure, next: Next, outcome: Outcome) -> sqlx::Result<bool> {
        let (mut tx, reason) = (self.pool.begin().await?, failure.to_string());
        if !inbox::fail(&mut tx, job, &reason, next).await? {
            return Ok(false);
        }
        let mut new_outage = false;
        match next {
            Next::Dead => self.handler.dead_lettered(&mut tx, job, &reason).await?,
            Next::Later(pause) if outcome == Outcome::Unavailable => {
                new_outage = inbox::note_outage(&mut tx, job, &reason, pause).await?;
            }
            Next::LookUp(_) => self.handler.in_doubt(&mut tx, job, &reason).await?,
            Next::Retry(_) | Next::Later(_) | Next::Again(_) => {}
        }
        tx.commit().await?;
        if new_outage {
            tracing::error!(alert = true, queue = %job.queue, %reason, "a dependency is down; its queue waits for it");
        }
        Ok(true)
    }
}

/// For how long the job has been in its queue.
fn age(job: &Job) -> Duration {
    elapsed(job.received_at)
}

fn elapsed(since: DateTime<Utc>) -> Duration {
    (Clock::system().now() - since).to_std().unwrap_or_default()
}
