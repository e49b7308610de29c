//! Runs a handler over the jobs of one queue: claim, heartbeat, outcome.
//!
//! A handler either completes its job inside the transaction that writes the effect, which yields a
//! [`Completed`] that cannot be had in any other way, or says what is to happen instead: a [`Failure`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use contracts::Queue;
use runtime::database::limited;
use runtime::{Tasks, faults};
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::inbox::{self, Job, Next};
use crate::retry::RetryPolicy;
use crate::wakeup::{Hint, Wakeup};

/// A claimed job is ours for this long after the last heartbeat. A dead worker's job waits at most this long and one
/// [`RECLAIM`]: 30 s together.
pub const LEASE: Duration = Duration::from_secs(25);
/// Two heartbeats may fail before the lease is lost.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// How often a queue is looked at when no hint arrives.
const POLL: Duration = Duration::from_secs(1);
/// How long a worker that is asked to stop waits for the jobs in hand, before it gives them back.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How often leases of dead workers are collected.
const RECLAIM: Duration = Duration::from_secs(5);

/// Proof that a job was completed in the transaction of its effect.
#[derive(Debug)]
pub struct Completed(());

impl Completed {
    /// Completes `job` in the caller's transaction, which must then be committed.
    ///
    /// # Errors
    /// [`Failure::LeaseLost`] when somebody else has the job now: roll back.
    pub async fn mark(conn: &mut PgConnection, job: &Job, result: &serde_json::Value) -> Result<Self, Failure> {
        if inbox::complete(conn, job, result).await? { Ok(Self(())) } else { Err(Failure::LeaseLost) }
    }
}

/// Why a job was not completed, and what follows from it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// May work later.
    #[error("{0}")]
    Retry(String),
    /// Will never work.
    #[error("{0}")]
    Dead(String),
    /// May have worked: find out before trying again.
    #[error("{0}")]
    InDoubt(String),
    /// Another worker has the job; whatever we did was rolled back.
    #[error("the lease was lost to another worker")]
    LeaseLost,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Retry(format!("database: {error}"))
    }
}

/// What a queue's jobs do.
pub trait Handler: Send + Sync + 'static {
    /// Does one job.
    fn handle(&self, job: &Job) -> impl Future<Output = Result<Completed, Failure>> + Send;

    /// Called in the transaction that marks a job dead, so that its owner can record the end as well.
    fn buried(
        &self,
        conn: &mut PgConnection,
        job: &Job,
        reason: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send {
        let _ = (conn, job, reason);
        async { Ok(()) }
    }
}

/// A job that died, for whoever must be told.
#[derive(Debug, Clone)]
pub struct DeadJob {
    pub queue: Queue,
    pub event_id: uuid::Uuid,
    pub event_type: String,
    pub aggregate_id: uuid::Uuid,
    pub attempts: i32,
    pub reason: String,
}

/// Everything a queue's worker needs but its handler.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub queue: Queue,
    /// Jobs at a time.
    pub slots: usize,
    pub policy: RetryPolicy,
    /// Names this process in leases.
    pub owner: String,
    /// How long the jobs in hand may take to end at shutdown; usually [`PATIENCE`].
    pub patience: Duration,
    /// Dead jobs are reported here, after they were logged.
    pub dead_jobs: tokio::sync::mpsc::UnboundedSender<DeadJob>,
    /// Wakes the relay when a job has ended, where the end of a job is an event.
    pub relay: Option<Hint>,
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Retried,
    InDoubt,
    Dead,
    LeaseLost,
}

/// The worker of one queue.
#[derive(Debug)]
pub struct Worker<H> {
    pool: PgPool,
    config: WorkerConfig,
    handler: H,
}

impl<H: Handler> Worker<H> {
    pub fn new(pool: PgPool, config: WorkerConfig, handler: H) -> Arc<Self> {
        Arc::new(Self { pool, config, handler })
    }

    /// Works until shutdown; then finishes the jobs in hand, and gives back those that take too long.
    pub async fn run(self: Arc<Self>, tasks: Tasks) {
        let mut wakeup = Wakeup::start(&self.pool, inbox::channel(self.config.queue), &tasks);
        let mut running = JoinSet::new();
        let mut reclaim = tokio::time::interval(RECLAIM);
        while !tasks.shutdown.is_cancelled() {
            self.fill(&mut running).await;
            tokio::select! {
                () = tasks.shutdown.cancelled() => {}
                () = wakeup.wait(POLL), if running.len() < self.config.slots => {}
                Some(_) = running.join_next() => {
                    // Who has ended meanwhile makes room as well: one claim for many jobs instead of one for each.
                    while running.try_join_next().is_some() {}
                }
                _ = reclaim.tick() => self.reclaim().await,
            }
        }
        self.finish(running).await;
    }

    async fn finish(&self, mut running: JoinSet<Outcome>) {
        let all = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(self.config.patience, all).await.is_ok() {
            return;
        }
        // A completion that is being committed either counts, and the row is done, or it does not, and the row is given back.
        running.shutdown().await;
        match limited(inbox::release(&self.pool, self.config.queue, &self.config.owner)).await {
            Ok(jobs) => tracing::warn!(queue = %self.config.queue, jobs, "gave back jobs that did not end in time"),
            Err(error) => {
                tracing::warn!(queue = %self.config.queue, %error, "jobs not given back; their leases expire");
            }
        }
    }

    /// Claims one batch and does it to the end: what `run` does, step by step, for tests.
    pub async fn tick(self: &Arc<Self>) -> sqlx::Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for job in self.claim(self.config.slots).await? {
            outcomes.push(self.attempt(job).await);
        }
        Ok(outcomes)
    }

    async fn fill(self: &Arc<Self>, running: &mut JoinSet<Outcome>) {
        let free = self.config.slots.saturating_sub(running.len());
        if free == 0 {
            return;
        }
        match self.claim(free).await {
            Ok(jobs) => {
                for job in jobs {
                    let worker = self.clone();
                    running.spawn(async move { worker.attempt(job).await });
                }
            }
            Err(error) => tracing::warn!(queue = %self.config.queue, %error, "could not claim jobs; trying again"),
        }
    }

    async fn claim(&self, limit: usize) -> sqlx::Result<Vec<Job>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let jobs = limited(inbox::claim(&self.pool, self.config.queue, &self.config.owner, limit, LEASE)).await?;
        if !jobs.is_empty() {
            faults::point("worker.jobs.claimed");
        }
        Ok(jobs)
    }

    async fn reclaim(&self) {
        match limited(inbox::reclaim_expired(&self.pool, self.config.queue)).await {
            Ok(0) => {}
            Ok(jobs) => tracing::warn!(queue = %self.config.queue, jobs, "took over jobs whose worker went silent"),
            Err(error) => tracing::warn!(queue = %self.config.queue, %error, "could not look for expired leases"),
        }
    }

    async fn attempt(&self, job: Job) -> Outcome {
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
        let result = if let Some(poison) = &job.poison {
            Err(Failure::Dead(poison.clone()))
        } else if self.config.policy.allows_another(job.attempts - 1) {
            self.with_heartbeat(&job).await
        } else {
            // Claimed once more after its worker died during the last attempt.
            Err(Failure::Dead(format!("gave up after {} attempts", job.attempts - 1)))
        };
        let outcome = match result {
            Ok(Completed(())) => Outcome::Done,
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

    /// Records a failure. If that fails too, the lease runs out and the job comes back as in doubt.
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
                tracing::warn!(%reason, retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), "job failed; will be retried");
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
            self.handler.buried(&mut tx, job, reason).await?;
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
        // Nobody listens only while the process ends; the log line above has been written.
        let _closed = self.config.dead_jobs.send(dead);
    }
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
