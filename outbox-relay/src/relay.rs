//! The forwarding loop: a tick moves one batch; between ticks it sleeps until a hint or the next poll.

use std::time::{Duration, Instant};

use messaging::TransportConfig;
use messaging::rabbitmq::BrokerError;
use messaging::wakeup::{Wakeup, gather};
use runtime::database::{limited, refuses_the_data};
use runtime::{Tasks, faults};
use sqlx::PgPool;
use tokio::sync::watch;

use crate::Settings;
use crate::leases::{Lane, Leases};
use crate::low_water::LowWater;
use crate::postgres_queue::{self, Routes, Source};
use crate::store::{self, Failed, Pending};
use crate::stream::Stream;

/// Shortest and longest sleep when there is nothing to do and no hint comes.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// First and longest wait after an error. The longest is what an outage may cost beyond its end.
const ERROR_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long a batch that is under way when the relay is asked to stop may go on.
const FINISH: Duration = Duration::from_secs(5);
/// Wait before a row that Postgres refused is tried again.
const ROW_RETRY: Duration = Duration::from_secs(5);

/// What a tick did.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// And there may be more.
    Forwarded,
    /// All there was. What is committed later sends a hint of its own.
    CaughtUp,
    Idle,
}

/// The loop's error; every one of them means: wait and try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Forwards the rows of one lane of the shards this instance has leased.
#[derive(Debug)]
pub(crate) struct Relay {
    pool: PgPool,
    /// The way to the broker; without one, events go through the queue in Postgres.
    stream: Option<Stream>,
    settings: Settings,
    name: String,
    routes: Routes,
    lane: Lane,
    leases: watch::Receiver<Leases>,
    wakeup: Wakeup,
    /// The leases under which `low_water` came about.
    scanned: Leases,
    low_water: LowWater,
}

impl Relay {
    pub(crate) fn new(
        pool: PgPool,
        transport: TransportConfig,
        settings: Settings,
        name: String,
        lane: Lane,
        leases: watch::Receiver<Leases>,
        wakeup: Wakeup,
    ) -> Self {
        let stream =
            transport.rabbitmq_url.map(|url| Stream::new(pool.clone(), url, settings.batch, settings.max_attempts));
        Self {
            pool,
            stream,
            settings,
            name,
            routes: Routes::new(),
            lane,
            leases,
            wakeup,
            scanned: Leases::default(),
            low_water: LowWater::new(),
        }
    }

    /// Forwards until shutdown. A batch that is then under way is finished if that is soon; dropped half-way, it is
    /// published again by a successor, and the inbox drops what arrives twice.
    pub(crate) async fn run(self, tasks: Tasks) {
        let shutdown = tasks.shutdown.clone();
        let patience = async {
            shutdown.cancelled().await;
            tokio::time::sleep(FINISH).await;
        };
        tokio::select! {
            () = self.forward(tasks) => {}
            () = patience => tracing::warn!("stopped in the middle of a batch"),
        }
    }

    async fn forward(mut self, tasks: Tasks) {
        let (mut idle, mut error_wait) = (POLL.0, ERROR_WAIT.0);
        while !tasks.shutdown.is_cancelled() {
            let begun = tokio::time::Instant::now();
            match self.tick().await {
                Ok(Outcome::Forwarded) => (idle, error_wait) = (POLL.0, ERROR_WAIT.0),
                Ok(outcome) => {
                    error_wait = ERROR_WAIT.0;
                    let caught_up = matches!(outcome, Outcome::CaughtUp);
                    if caught_up {
                        idle = POLL.0;
                    }
                    let lane = self.lane;
                    let hint = async {
                        if caught_up {
                            gather(begun).await;
                        }
                        self.wakeup.wait_for(|shard| lane.has(shard), idle).await;
                    };
                    tokio::select! {
                        () = tasks.shutdown.cancelled() => {}
                        _changed = self.leases.changed() => {}
                        () = hint => {}
                    }
                    idle = (idle * 2).min(POLL.1);
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?error_wait, "forwarding interrupted");
                    tokio::select! {
                        () = tasks.shutdown.cancelled() => {}
                        () = tokio::time::sleep(error_wait) => error_wait = (error_wait * 2).min(ERROR_WAIT.1),
                    }
                }
            }
        }
        if let Err(error) = self.settle().await {
            tracing::warn!(%error, "the last batch is not marked; a successor publishes it again");
        }
    }

    /// Ends what was begun under the leases that it was begun under.
    async fn settle(&mut self) -> sqlx::Result<()> {
        match &mut self.stream {
            Some(stream) => stream.settle(&self.scanned).await,
            None => Ok(()),
        }
    }

    /// Moves one batch.
    pub(crate) async fn tick(&mut self) -> Result<Outcome, RelayError> {
        let leases = self.leases.borrow_and_update().of_lane(self.lane);
        if leases != self.scanned {
            self.settle().await?;
            // A shard that comes from another relay may bring rows from below our mark; so may an operator's act.
            self.low_water = LowWater::new();
            self.scanned.clone_from(&leases);
        }
        if leases.shards.is_empty() {
            return Ok(Outcome::Idle);
        }
        if self.low_water.wants_writers() {
            let (writers, taken) = limited(store::writers(&self.pool, self.low_water.seen())).await?;
            self.low_water.writers(writers, taken);
        }
        let started = Instant::now();
        let forwarded = match &mut self.stream {
            None => self.tick_postgres(&leases).await?,
            Some(stream) => stream.tick(&leases, &mut self.low_water).await?,
        };
        if forwarded == 0 {
            return Ok(Outcome::Idle);
        }
        metrics::counter!("outbox_published_total").increment(u64::try_from(forwarded).unwrap_or(0));
        metrics::histogram!("outbox_batch_duration_seconds").record(started.elapsed());
        let all = i64::try_from(forwarded).is_ok_and(|rows| rows < self.settings.batch) && !self.low_water.sweeps_now();
        Ok(if all { Outcome::CaughtUp } else { Outcome::Forwarded })
    }

    async fn tick_postgres(&mut self, leases: &Leases) -> Result<usize, RelayError> {
        let from = self.low_water.scan_from();
        let source = Source { relay: &self.name, shards: &leases.shards, from_position: from };
        faults::point("relay.batch.ready");
        let moved = limited(postgres_queue::forward(&self.pool, source, &self.routes, self.settings.batch, None)).await;
        faults::point("relay.batch.forwarded");
        let moved = match moved {
            Ok(moved) => moved,
            Err(error) if refuses_the_data(&error) => {
                tracing::warn!(%error, "batch refused; forwarding its rows one by one");
                return Ok(self.forward_one_by_one(leases, from).await?);
            }
            Err(error) => return Err(error.into()),
        };
        self.low_water.scanned(moved.last_position, moved.rows < self.settings.batch);
        self.low_water.gone_out(moved.troubled);
        moved.traceparents.iter().for_each(|parent| trace_published(Some(parent)));
        Ok(usize::try_from(moved.rows).unwrap_or(0))
    }

    /// One bad row must not hold up the others: it gets its back-off and finally its parking place.
    async fn forward_one_by_one(&mut self, leases: &Leases, from: i64) -> sqlx::Result<usize> {
        let mut forwarded = 0;
        let batch = limited(store::pending(&self.pool, &leases.shards, from, self.settings.batch)).await?;
        for row in &batch {
            let source = Source { relay: &self.name, shards: &leases.shards, from_position: from };
            match limited(postgres_queue::forward(&self.pool, source, &self.routes, 1, Some(row.event_id))).await {
                Ok(_) => forwarded += 1,
                Err(error) if refuses_the_data(&error) => {
                    let parked = (row.attempts + 1 >= self.settings.max_attempts).then_some("ATTEMPTS_SPENT");
                    let failed = Failed { event_id: row.event_id, error: error.to_string(), parked, delay: ROW_RETRY };
                    record_failure(&self.pool, leases, &mut self.low_water, &failed).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.note_handled(&batch);
        Ok(forwarded)
    }

    /// Only when every row of the batch is out or has its turn later: the mark must not pass what was merely read.
    fn note_handled(&mut self, batch: &[Pending]) {
        let exhausted = i64::try_from(batch.len()).unwrap_or(i64::MAX) < self.settings.batch;
        self.low_water.scanned(batch.last().map(|row| row.position), exhausted);
        self.low_water.gone_out(batch.iter().any(Pending::is_troubled));
    }
}

/// A row that did not go out: told to the log, written down, and looked for again when its turn comes.
pub(crate) async fn record_failure(
    pool: &PgPool,
    leases: &Leases,
    low_water: &mut LowWater,
    failed: &Failed,
) -> sqlx::Result<()> {
    match failed.parked {
        Some(reason) => {
            metrics::counter!("outbox_parked_total", "reason" => reason).increment(1);
            tracing::error!(alert = true, event.id = %failed.event_id, reason, error = %failed.error, "outbox row parked");
        }
        None => {
            tracing::warn!(event.id = %failed.event_id, error = %failed.error, retry_in = ?failed.delay, "outbox row not published");
        }
    }
    low_water.sweep_in(failed.delay);
    limited(store::mark_failed(pool, leases, failed)).await
}

/// The relay's place in the trace of each event, where the trace is sampled.
pub(crate) fn trace_published(traceparent: Option<&str>) {
    if traceparent.is_none_or(|parent| !parent.ends_with("-01")) {
        return;
    }
    let span = tracing::info_span!("relay.event.publish");
    runtime::telemetry::continue_trace(&span, traceparent);
    span.in_scope(|| {});
}
