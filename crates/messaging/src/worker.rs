//! Runs a handler over the jobs of one queue: claim, heartbeat, outcome.
//!
//! A handler either completes its job inside the transaction that writes the effect, which is the only way to get a
//! [`Completed`], or returns a [`Failure`] that says what happens instead.

mod handler;
mod attempt;

use std::sync::Arc;
use std::time::Duration;

use contracts::Queue;
use runtime::database::limited;
use runtime::{Tasks, faults};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::inbox::{self, Job};
use crate::retry::RetryPolicy;
use crate::wakeup::{Hint, Wakeup};

pub use attempt::Outcome;
pub use handler::{Completed, DeadJob, Failure, Handler};

/// A worker holds a claimed job for this long after the last heartbeat. The job of a dead worker waits at most this
/// long and one [`RECLAIM`]: 30 s together.
pub const LEASE: Duration = Duration::from_secs(25);
/// Two heartbeats may fail before the lease is lost.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// How often a worker looks for jobs when no hint arrives.
const POLL: Duration = Duration::from_secs(1);
/// How long a worker that is asked to stop waits for its running jobs before it gives them back.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How often a worker collects the leases of dead workers.
const RECLAIM: Duration = Duration::from_secs(5);

/// Everything a queue's worker needs but its handler.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub queue: Queue,
    /// Jobs at a time.
    pub slots: usize,
    pub policy: RetryPolicy,
    /// Names this process in leases.
    pub owner: String,
    /// How long the running jobs may take to end at shutdown; usually [`PATIENCE`].
    pub patience: Duration,
    /// Dead jobs are reported here, after they were logged.
    pub dead_jobs: tokio::sync::mpsc::UnboundedSender<DeadJob>,
    /// Wakes the relay when a job has ended, for queues whose jobs write events.
    pub relay: Option<Hint>,
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

    /// Works until shutdown. Then it finishes its running jobs, and gives back those that take too long.
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
                    // Collect every job that has ended: one claim for many jobs instead of one for each.
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
        // A completion that is being committed either counts, and the row is done, or it does not, and the row is
        // given back.
        running.shutdown().await;
        match limited(inbox::release(&self.pool, self.config.queue, &self.config.owner)).await {
            Ok(jobs) => tracing::warn!(queue = %self.config.queue, jobs, "gave back jobs that did not end in time"),
            Err(error) => {
                tracing::warn!(queue = %self.config.queue, %error, "could not give jobs back; their leases will expire");
            }
        }
    }

    /// Claims one batch and finishes it: one step of `run`, for tests.
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
            Err(error) => {
                tracing::warn!(queue = %self.config.queue, %error, "could not claim jobs; retrying at the next poll");
            }
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
            Ok(jobs) => tracing::warn!(queue = %self.config.queue, jobs, "reclaimed jobs of workers that went silent"),
            Err(error) => tracing::warn!(queue = %self.config.queue, %error, "could not look for expired leases"),
        }
    }
}
