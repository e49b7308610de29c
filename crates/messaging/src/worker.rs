//! Runs a handler over the jobs of one queue: claim, heartbeat, outcome.
//!
//! A handler returns what it has done as a [`Completed`], whose rows are written in the commit that records the job as done,
//! or a [`Failure`] that says what happens instead.

mod handler;
mod isolation;
mod lease;
mod completion;
mod attempt;
mod next_look;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contracts::Queue;
use runtime::backoff::Backoff;
use runtime::database::limited;
use runtime::telemetry::MessagingSystem;
use runtime::{Tasks, faults};
use sqlx::PgPool;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use uuid::Uuid;

use crate::BatchSize;
use crate::inbox::{self, Bound, Claim, Job, WorkerLease};
use crate::retry::RetryPolicy;
use crate::wakeup::{Hint, Wakeup};

use completion::Completions;
use lease::RunningClaims;
use next_look::{NextLook, all_done};

pub use attempt::Outcome;
pub use handler::{Completed, Effect, Failure, Handler};
pub use isolation::Isolation;

/// A worker holds its jobs for this long after the last heartbeat. The job of a dead worker waits at most this long and
/// one [`RECLAIM`]: 30 s together.
pub const LEASE: Duration = Duration::from_secs(25);
/// Two heartbeats may fail before the lease is lost.
const HEARTBEAT: Duration = Duration::from_secs(8);
/// A claim without an answer may still be carried out by the server for this long. Then its jobs are given back.
const UNANSWERED: Duration = Duration::from_secs(60);
/// How often a worker looks for jobs below the bound of its claims.
const SWEEP: Duration = Duration::from_secs(30);
/// Waits between claims while the database fails.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// How often a worker looks for jobs when no hint arrives.
const POLL: Duration = Duration::from_secs(1);
/// How long a worker that is asked to stop waits for its running jobs before it gives them back.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How often a worker collects the jobs of dead workers.
const RECLAIM: Duration = Duration::from_secs(5);

/// Everything a queue's worker needs but its handler.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub queue: Queue,
    /// What brings its jobs, for their traces.
    pub system: MessagingSystem,
    /// Jobs at a time.
    pub slots: usize,
    pub policy: RetryPolicy,
    /// Names this process in leases.
    pub owner: String,
    /// Shared by all workers of this process.
    pub isolation: Isolation,
    /// How long the running jobs may take to end at shutdown; usually [`PATIENCE`].
    pub patience: Duration,
    /// Wakes the relay when a job has ended, for queues whose jobs write events.
    pub relay: Option<Hint>,
}

/// The worker of one queue.
#[derive(Debug)]
pub struct Worker<H> {
    pool: PgPool,
    config: WorkerConfig,
    /// `process invoices`
    span_name: String,
    handler: H,
    /// Whether the queue is ordered, once that is known.
    ordered: OnceCell<bool>,
    running: RunningClaims,
    /// Held while the lease is extended: the heartbeat and a claim may both do it.
    leasing: tokio::sync::Mutex<()>,
    completions: Completions,
    /// What may still run under a claim of ours, while nothing here works on it.
    to_give_back: Mutex<Vec<GiveBack>>,
}

/// Jobs to give back to the queue.
#[derive(Debug, Clone, Copy)]
struct GiveBack {
    claim_id: Uuid,
    /// `None`: all jobs of the claim.
    event_id: Option<Uuid>,
    not_before: Instant,
}

impl<H: Handler> Worker<H> {
    pub fn new(pool: PgPool, config: WorkerConfig, handler: H) -> Arc<Self> {
        let completions = Completions::new(pool.clone(), config.queue);
        Arc::new(Self {
            pool,
            span_name: format!("process {}", config.queue),
            config,
            handler,
            ordered: OnceCell::new(),
            running: RunningClaims::new(),
            leasing: tokio::sync::Mutex::default(),
            completions,
            to_give_back: Mutex::default(),
        })
    }

    /// Works until shutdown. Then it finishes its running jobs, and gives back those that take too long.
    pub async fn run(self: Arc<Self>, tasks: Tasks) {
        self.extend_lease().await;
        tokio::select! {
            () = self.clone().work(&tasks) => {}
            () = self.keep_lease() => {}
        }
    }

    async fn work(self: Arc<Self>, tasks: &Tasks) {
        let mut wakeup = Wakeup::start(&self.pool, inbox::channel(self.config.queue), tasks);
        let (mut running, mut bound, mut failures) = (JoinSet::new(), None, 0);
        let mut size = BatchSize::new("claims", rows(self.config.slots));
        let (mut reclaim, mut sweep) = (every(RECLAIM), every(SWEEP));
        while !tasks.shutdown.is_cancelled() {
            let next = match self.fill(&mut running, &mut bound, &mut size).await {
                Ok(next) => {
                    failures = 0;
                    next
                }
                Err(error) => {
                    failures += 1;
                    bound = None;
                    let wait = RETRY.delay(failures);
                    tracing::warn!(queue = %self.config.queue, %error, retry_in = ?wait, "could not claim jobs");
                    let pause = tokio::time::sleep(wait);
                    tokio::select! { () = tasks.shutdown.cancelled() => {}, () = pause => {} }
                    NextLook { at: Instant::now() + POLL, after_a_job: true }
                }
            };
            let mut looks = false;
            while !looks {
                looks = true;
                tokio::select! {
                    () = tasks.shutdown.cancelled() => {}
                    () = wakeup.wait(next.at.saturating_duration_since(Instant::now())), if running.len() < self.config.slots => {}
                    Some(ended) = running.join_next() => {
                        looks = !all_done(ended, &mut running).await || next.after_a_job;
                    }
                    _ = reclaim.tick() => self.reclaim().await,
                    _ = sweep.tick() => if let Some(bound) = &mut bound { self.sweep(bound).await },
                }
            }
        }
        self.finish(running).await;
    }

    /// Beside the work, because a claim that waits for the database must not cost the lease of the running jobs.
    async fn keep_lease(&self) {
        let mut heartbeat = every(HEARTBEAT);
        loop {
            heartbeat.tick().await;
            self.extend_lease().await;
        }
    }

    async fn finish(&self, mut running: JoinSet<Outcome>) {
        let all = async { while running.join_next().await.is_some() {} };
        let all_ended = tokio::time::timeout(self.config.patience, all).await.is_ok();
        // A completion that is being committed either counts, and the row is done, or it does not, and the row is
        // given back.
        running.shutdown().await;
        let (queue, owner) = (self.config.queue, &self.config.owner);
        match limited(inbox::release(&self.pool, queue, owner, &self.running.all())).await {
            Ok(_) if all_ended => {}
            Ok(jobs) => tracing::warn!(%queue, jobs, "gave back jobs that did not end in time"),
            Err(error) => tracing::warn!(%queue, %error, "could not give jobs back; the lease will expire"),
        }
    }

    /// Claims one batch and finishes it: one step of `run`, for tests.
    pub async fn tick(self: &Arc<Self>) -> sqlx::Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        self.extend_lease().await;
        for job in self.claim(self.config.slots, &mut None).await?.0 {
            outcomes.push(self.attempt(job).await);
        }
        Ok(outcomes)
    }

    /// Claims jobs until all slots have one, or no job is left.
    async fn fill(
        self: &Arc<Self>,
        running: &mut JoinSet<Outcome>,
        bound: &mut Option<Bound>,
        size: &mut BatchSize,
    ) -> sqlx::Result<NextLook> {
        loop {
            let free = self.config.slots.saturating_sub(running.len());
            let limit = free.min(usize::try_from(size.rows()).unwrap_or(free));
            // What is claimed while a suspect runs would wait for it, although another process could do it.
            if limit == 0 || self.config.isolation.is_occupied() {
                return Ok(NextLook { at: Instant::now() + POLL, after_a_job: true });
            }
            let (jobs, blocked) =
                self.claim(limit, bound).await.inspect_err(|error| size.failed(rows(limit), error))?;
            let claimed = jobs.len();
            size.succeeded(rows(claimed));
            let is_probe = jobs.iter().any(|job| job.probes.is_some());
            for job in jobs {
                let worker = self.clone();
                running.spawn(async move { worker.attempt(job).await });
            }
            if claimed < limit {
                // Blocked jobs were in the way of others.
                let at = Instant::now() + if blocked > 0 { Duration::ZERO } else { POLL };
                return Ok(NextLook { at, after_a_job: is_probe || self.ordered.get() == Some(&true) });
            }
        }
    }

    /// Claims jobs, and in an ordered queue blocks those that are out of turn; returns how many. Without a `bound` of the
    /// server on which the lease is, it loads the stored one.
    async fn claim(&self, limit: usize, known: &mut Option<Bound>) -> sqlx::Result<(Vec<Job>, u64)> {
        let (queue, owner) = (self.config.queue, self.config.owner.as_str());
        let bound = match known.take_if(|bound| bound.is_of(&self.running.timeline())) {
            Some(bound) => known.insert(bound),
            None => known.insert(limited(Bound::load(&self.pool, queue)).await?),
        };
        let start_at = limited(bound.start_at(&self.pool)).await?;
        let ordered = *self.ordered.get_or_try_init(|| limited(inbox::is_ordered(&self.pool, queue))).await?;
        let (id, timeline) = self.running.begin();
        let (limit, find_left) = (rows(limit), start_at.settles());
        let claim = Claim { id, owner, timeline: &timeline, bound: start_at.bound, limit, find_left };
        let claimed = if ordered {
            limited(inbox::claim_in_order(&self.pool, queue, claim)).await
        } else {
            limited(inbox::claim(&self.pool, queue, claim)).await
        };
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                self.give_back_later(GiveBack {
                    claim_id: id,
                    event_id: None,
                    not_before: Instant::now() + UNANSWERED,
                });
                return Err(error);
            }
        };
        self.running.got(id, claimed.jobs.iter().map(|job| job.event_id));
        if claimed.timeline != timeline {
            self.extend_lease().await;
            return Ok((Vec::new(), 0));
        }
        if !claimed.jobs.is_empty() {
            faults::point("worker.jobs.claimed");
        }
        if claimed.looked
            && let Err(error) = limited(bound.claimed(&self.pool, start_at, &claimed)).await
        {
            // The jobs are claimed; only the next worker starts a little earlier.
            tracing::warn!(%queue, %error, "could not store the bound of the claims");
        }
        let blocked = self.block(&claimed.out_of_turn).await;
        Ok((claimed.jobs, blocked))
    }

    /// Blocks jobs that are out of turn, and returns how many. If that fails, the next claim names them again.
    async fn block(&self, out_of_turn: &[Uuid]) -> u64 {
        if out_of_turn.is_empty() {
            return 0;
        }
        let queue = self.config.queue;
        limited(inbox::block(&self.pool, queue, out_of_turn)).await.unwrap_or_else(|error| {
            tracing::warn!(%queue, %error, jobs = out_of_turn.len(), "could not block jobs that are out of turn");
            0
        })
    }

    async fn extend_lease(&self) {
        let _turn = self.leasing.lock().await;
        let queue = self.config.queue;
        match tokio::time::timeout(HEARTBEAT, self.try_extend_lease()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%queue, %error, "heartbeat failed"),
            Err(_elapsed) => tracing::warn!(%queue, "heartbeat not answered within {HEARTBEAT:?}"),
        }
    }

    /// After a failover the lease starts on the new server. Until then no job is claimed there, and no lease that it knows is
    /// extended: otherwise jobs whose end it does not know of would run for ever.
    async fn try_extend_lease(&self) -> sqlx::Result<()> {
        let (queue, owner, timeline) = (self.config.queue, self.config.owner.as_str(), self.running.timeline());
        let lease = || WorkerLease { owner, oldest_claim: self.running.oldest(), lasts: LEASE };
        if inbox::extend_lease(&self.pool, queue, lease(), &timeline).await? == timeline {
            return Ok(());
        }
        let (timeline, jobs) = inbox::start_lease(&self.pool, queue, lease(), &self.running.leave()).await?;
        if jobs > 0 {
            tracing::warn!(%queue, jobs, timeline, "the database lost what became of jobs; they are in doubt");
        }
        self.running.moved_to(timeline);
        Ok(())
    }

    async fn reclaim(&self) {
        let queue = self.config.queue;
        match limited(inbox::reclaim_expired(&self.pool, queue)).await {
            Ok(0) => {}
            Ok(jobs) => tracing::warn!(%queue, jobs, "reclaimed jobs of workers that went silent"),
            Err(error) => tracing::warn!(%queue, %error, "could not look for expired leases"),
        }
        for given_back in self.due_to_give_back() {
            let GiveBack { claim_id, event_id, .. } = given_back;
            match limited(inbox::give_back(&self.pool, queue, claim_id, event_id)).await {
                Ok(_) => match event_id {
                    Some(event_id) => _ = self.running.ended(claim_id, event_id),
                    None => self.running.got(claim_id, []),
                },
                Err(error) => {
                    tracing::warn!(%queue, %error, "could not give back jobs; retrying in {RECLAIM:?}");
                    self.give_back_later(given_back);
                }
            }
        }
    }

    fn give_back_later(&self, jobs: GiveBack) {
        self.to_give_back.lock().unwrap_or_else(PoisonError::into_inner).push(jobs);
    }

    fn due_to_give_back(&self) -> Vec<GiveBack> {
        let mut waiting = self.to_give_back.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extract_if(.., |jobs| jobs.not_before <= Instant::now()).collect()
    }

    async fn sweep(&self, bound: &mut Bound) {
        if let Err(error) = limited(bound.sweep(&self.pool)).await {
            tracing::warn!(queue = %self.config.queue, %error, "could not look for jobs below the bound");
        }
    }
}

fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Ticks for the first time after a period, and after a pause does not catch up.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
