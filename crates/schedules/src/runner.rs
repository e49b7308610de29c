//! Takes the lead of a schedule, unless another instance has it, and runs what is due.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use runtime::backoff::Backoff;
use runtime::database::{limited, within};
use runtime::{Clock, Tasks};
use serde_json::Value;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::schedule::{Due, Schedule};
use crate::store::{self, Ending, Lead, Leadership, Open};

/// How long a lease lasts on the database's clock. A leader that was killed is replaced after at most this long and one
/// [`RENEW`].
const LEASE: Duration = Duration::from_secs(7);
/// How often a runner renews its lease and looks for a due time. Three renewals may fail before a lease is lost.
const RENEW: Duration = Duration::from_millis(1_500);
/// An attempt that takes longer than this has failed.
const RUN_AT_MOST: Duration = Duration::from_secs(600);
/// How often a run is started before it has failed for good.
pub const ATTEMPTS: i32 = 5;
/// The wait before the second attempt; it doubles, to 8 min before the last. Only the leader retries, so the waits are the
/// ceilings, without jitter.
const RETRY: Backoff = Backoff::new(Duration::from_mins(1), Duration::from_mins(8));
/// The wait before a failed [`switch_off`] is retried.
const SWITCH_OFF_RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
/// How long a running handler may take to end at shutdown, before its run is given back. Processes drain for 15 s and more.
const PATIENCE: Duration = Duration::from_secs(8);

/// Runs a schedule until shutdown. `owner` names this process in the lease; it must be unique among the living.
pub fn start(schedule: Schedule, pool: &PgPool, clock: &Clock, owner: &str, tasks: &Tasks) {
    let runner = Runner::new(schedule, pool.clone(), clock.clone(), owner);
    tasks.spawn("schedule", runner.run(tasks.shutdown.clone()));
}

/// Records that the settings switch a schedule off. Instances that started earlier with other settings stop running it.
pub fn switch_off(name: &'static str, pool: &PgPool, clock: &Clock, tasks: &Tasks) {
    let (pool, clock, shutdown) = (pool.clone(), clock.clone(), tasks.shutdown.clone());
    tasks.spawn("schedule", async move {
        let mut failures = 0;
        while let Err(error) = limited(store::switch_off(&pool, name, clock.now())).await {
            failures += 1;
            tracing::warn!(%error, schedule = name, "could not switch the schedule off; retrying");
            if shut_down_within(SWITCH_OFF_RETRY.delay(failures), &shutdown).await {
                return;
            }
        }
        shutdown.cancelled().await;
    });
}

/// Waits that long, or until shutdown. Whether shutdown came.
async fn shut_down_within(time: Duration, shutdown: &CancellationToken) -> bool {
    tokio::time::timeout(time, shutdown.cancelled()).await.is_ok()
}

/// What one tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Another instance leads, or another instance has registered other settings.
    Following,
    /// Nothing is due.
    Idle,
    Done,
    /// Failed, and will be retried.
    Retried,
    /// Failed for the last time.
    Failed,
    /// Another instance has taken over in the middle; this run does not count.
    Lost,
}

impl Turn {
    const fn name(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Idle => "idle",
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

/// A schedule in one instance of its process.
#[derive(Debug)]
pub struct Runner {
    schedule: Schedule,
    pool: PgPool,
    clock: Clock,
    owner: String,
}

impl Runner {
    pub fn new(schedule: Schedule, pool: PgPool, clock: Clock, owner: &str) -> Self {
        Self { schedule, pool, clock, owner: owner.to_owned() }
    }

    /// Runs what is due until shutdown. Then it lets a running handler finish, if that is soon, and gives up the lease.
    async fn run(self, shutdown: CancellationToken) {
        let (name, mut registered) = (self.schedule.name, false);
        let out_of_patience = async {
            shutdown.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::pin!(out_of_patience);
        while !shutdown.is_cancelled() {
            let turn = async {
                if !registered {
                    self.register().await?;
                    registered = true;
                }
                self.tick().await
            };
            let turn = tokio::select! {
                turn = turn => turn,
                () = &mut out_of_patience => break,
            };
            match turn {
                Ok(Turn::Done | Turn::Failed) => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, schedule = name, "could not look after the schedule; retrying"),
            }
            shut_down_within(RENEW, &shutdown).await;
        }
        if let Err(error) = limited(self.release()).await {
            tracing::warn!(%error, schedule = name, "could not give up the lease; a successor waits until it expires");
        }
    }

    /// Registers the schedule. A new one starts with its next due time; one with a changed expression continues after the
    /// due time that was settled last.
    pub async fn register(&self) -> sqlx::Result<()> {
        limited(store::register(&self.pool, self.schedule.name, self.schedule.timing.clone(), self.clock.now())).await
    }

    /// Takes or keeps the lead, and runs what is due, if anything: one step of `run`, for tests.
    pub async fn tick(&self) -> sqlx::Result<Turn> {
        let Some(lead) = self.lead().await? else { return Ok(Turn::Following) };
        let (now, leadership) = (self.clock.now(), self.leadership(&lead));
        let due = match lead.open {
            Some(Open { retry_at: Some(at), .. }) if now < at => return Ok(Turn::Idle),
            // Waiting for a retry, or left in the middle by a leader that died: this run is finished before the next.
            Some(Open { missed, attempt, .. }) => Due { at: lead.next_due_at, missed, attempt: attempt + 1 },
            None => match self.schedule.timing.catch_up(lead.next_due_at, now, self.schedule.missed.at_most()) {
                Some((at, missed)) => Due { at, missed, attempt: 1 },
                None => return Ok(Turn::Idle),
            },
        };
        if due.attempt > ATTEMPTS {
            let died = "the process that ran it ended in the middle of its last attempt";
            return self.failed_for_good(leadership, due, died.to_owned()).await;
        }
        if !limited(store::start(&self.pool, leadership, due, now)).await? {
            return Ok(report(leadership.schedule, Turn::Lost));
        }
        let span = tracing::info_span!("schedule.run", schedule = leadership.schedule, due_at = %due.at, attempt = due.attempt);
        self.attempt(leadership, due).instrument(span).await
    }

    /// Takes the lease, if it is free or ours. A renewal that takes longer than a lease is useless.
    async fn lead(&self) -> sqlx::Result<Option<Lead>> {
        within(LEASE, store::lead(&self.pool, self.schedule.name, &self.schedule.timing, &self.owner, LEASE)).await
    }

    fn leadership(&self, lead: &Lead) -> Leadership<'_> {
        Leadership { schedule: self.schedule.name, owner: &self.owner, fence: lead.fence }
    }

    async fn attempt(&self, leadership: Leadership<'_>, due: Due) -> sqlx::Result<Turn> {
        let started = Instant::now();
        let ended = tokio::select! {
            ended = self.handled(due) => ended,
            () = self.until_lost(leadership.fence) => return Ok(report(leadership.schedule, Turn::Lost)),
        };
        metrics::histogram!("schedule_run_duration_seconds", "schedule" => leadership.schedule)
            .record(started.elapsed());
        match ended {
            Ok(result) => {
                tracing::info!(%result, missed = due.missed, "schedule run");
                self.end(leadership, due, Ending::Done(result)).await
            }
            Err(error) if due.attempt < ATTEMPTS => {
                let wait = RETRY.ceiling(due.attempt.unsigned_abs());
                tracing::warn!(%error, retry_in = ?wait, "schedule run failed; will be retried");
                self.end(leadership, due, Ending::Retry { error, at: self.clock.now() + wait }).await
            }
            Err(error) => self.failed_for_good(leadership, due, error).await,
        }
    }

    /// A panic counts as a failure: it must not take the process down at every attempt.
    async fn handled(&self, due: Due) -> Result<Value, String> {
        let handled = AssertUnwindSafe(async { (self.schedule.handler)(due).await }).catch_unwind();
        match tokio::time::timeout(RUN_AT_MOST, handled).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_panic)) => Err("it panicked; the log says where".to_owned()),
            Err(_elapsed) => Err(format!("it took longer than {RUN_AT_MOST:?}")),
        }
    }

    /// Renews the lease while a handler runs; returns when the lease is lost. A fence that has moved means that it had
    /// expired in between.
    async fn until_lost(&self, fence: i64) {
        loop {
            tokio::time::sleep(RENEW).await;
            match self.lead().await {
                Ok(Some(lead)) if lead.fence == fence => {}
                Ok(_) => return,
                // If the lease expires before a renewal succeeds, the end of the run will not be recorded.
                Err(error) => tracing::warn!(%error, "could not renew the lease of a schedule"),
            }
        }
    }

    async fn failed_for_good(&self, leadership: Leadership<'_>, due: Due, error: String) -> sqlx::Result<Turn> {
        let turn = self.end(leadership, due, Ending::Failed(error.clone())).await?;
        if turn == Turn::Failed {
            tracing::error!(alert = true, %error, schedule = leadership.schedule, due_at = %due.at, "schedule run failed for good");
        }
        Ok(turn)
    }

    async fn end(&self, leadership: Leadership<'_>, due: Due, ending: Ending) -> sqlx::Result<Turn> {
        let turn = match &ending {
            Ending::Done(_) => Turn::Done,
            Ending::Retry { .. } => Turn::Retried,
            Ending::Failed(_) => Turn::Failed,
        };
        let next = self.schedule.timing.next(due.at);
        let counts = limited(store::end(&self.pool, leadership, due.at, &ending, self.clock.now(), next)).await?;
        Ok(report(leadership.schedule, if counts { turn } else { Turn::Lost }))
    }

    /// Gives up the lease, so that a successor need not wait until it expires, and gives back a run that has not ended.
    pub async fn release(&self) -> sqlx::Result<()> {
        store::release(&self.pool, self.schedule.name, &self.owner).await
    }
}

fn report(schedule: &'static str, turn: Turn) -> Turn {
    if turn == Turn::Lost {
        tracing::warn!(schedule, "another instance has taken over the schedule; this run does not count");
    }
    metrics::counter!("schedule_runs_total", "schedule" => schedule, "status" => turn.name()).increment(1);
    turn
}
