//! The forwarding loop: a tick moves one batch; between ticks it sleeps until a hint or the next poll.

use std::time::{Duration, Instant};

use messaging::TransportConfig;
use messaging::wakeup::{Wakeup, gather};
use runtime::Tasks;
use runtime::backoff::Backoff;
use runtime::database::limited;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::Settings;
use crate::error::RelayError;
use crate::low_water::LowWater;
use crate::postgres_queue::PostgresQueue;
use crate::shards::{Leases, ShardGroup};
use crate::store;
use crate::stream::Stream;

/// Shortest and longest sleep when there is nothing to do and no hint comes.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The wait after an error. The cap is what an outage may cost beyond its end.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// How long a running batch may go on when the relay is asked to stop.
const FINISH: Duration = Duration::from_secs(5);

/// What a tick did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It forwarded a batch, and there may be more.
    Forwarded,
    /// It forwarded all there was. What is committed later sends a hint of its own.
    CaughtUp,
    Idle,
}

/// The way out of the outbox.
#[derive(Debug)]
enum Transport {
    PostgresQueue(PostgresQueue),
    RabbitMq(Box<Stream>),
}

/// Forwards the rows of one group of the shards that this instance has leased.
#[derive(Debug)]
pub(crate) struct Relay {
    pool: PgPool,
    transport: Transport,
    batch: i64,
    group: ShardGroup,
    leases: watch::Receiver<Leases>,
    wakeup: Wakeup,
    /// The leases to which `low_water` belongs.
    scanned: Leases,
    low_water: LowWater,
}

impl Relay {
    pub(crate) fn new(
        pool: PgPool,
        transport: &TransportConfig,
        settings: &Settings,
        name: &str,
        group: ShardGroup,
        leases: watch::Receiver<Leases>,
        wakeup: Wakeup,
    ) -> Self {
        let (batch, max_attempts) = (settings.batch, settings.max_attempts);
        let transport = match transport.rabbitmq_url.clone() {
            None => Transport::PostgresQueue(PostgresQueue::new(pool.clone(), name.to_owned(), batch, max_attempts)),
            Some(url) => Transport::RabbitMq(Box::new(Stream::new(pool.clone(), url, batch, max_attempts))),
        };
        let (scanned, low_water) = (Leases::default(), LowWater::new());
        Self { pool, transport, batch, group, leases, wakeup, scanned, low_water }
    }

    /// Forwards until shutdown. A batch that is then running is finished if that is soon. Otherwise it is dropped
    /// half-way, a successor publishes it again, and the inbox drops duplicates.
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
        let (mut idle, mut failures) = (POLL.0, 0);
        while !tasks.shutdown.is_cancelled() {
            let started = tokio::time::Instant::now();
            match self.tick().await {
                Ok(Outcome::Forwarded) => (idle, failures) = (POLL.0, 0),
                Ok(outcome) => {
                    failures = 0;
                    let caught_up = outcome == Outcome::CaughtUp;
                    if caught_up {
                        idle = POLL.0;
                    }
                    let group = self.group;
                    let hint = async {
                        if caught_up {
                            gather(started).await;
                        }
                        self.wakeup.wait_for(|shard| group.contains(shard), idle).await;
                    };
                    tokio::select! {
                        () = tasks.shutdown.cancelled() => {}
                        _changed = self.leases.changed() => {}
                        () = hint => {}
                    }
                    idle = (idle * 2).min(POLL.1);
                }
                Err(error) => {
                    failures += 1;
                    let wait = RETRY.delay(failures);
                    tracing::warn!(%error, retry_in = ?wait, "forwarding interrupted");
                    tokio::select! {
                        () = tasks.shutdown.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
        if let Err(error) = self.settle().await {
            tracing::warn!(%error, "the last batch is not marked; a successor publishes it again");
        }
    }

    /// Ends what was started under the previous leases, still under these.
    async fn settle(&mut self) -> sqlx::Result<()> {
        match &mut self.transport {
            Transport::RabbitMq(stream) => stream.settle(&self.scanned).await,
            Transport::PostgresQueue(_) => Ok(()),
        }
    }

    /// Moves one batch.
    async fn tick(&mut self) -> Result<Outcome, RelayError> {
        let leases = self.leases.borrow_and_update().of_group(self.group);
        if leases != self.scanned {
            self.settle().await?;
            // A shard that comes from another relay may have rows below our mark; so may an operator's action.
            self.low_water = LowWater::new();
            self.scanned.clone_from(&leases);
        }
        if leases.shards.is_empty() {
            return Ok(Outcome::Idle);
        }
        if self.low_water.needs_writers() {
            let (writers, taken) = limited(store::writers(&self.pool, self.low_water.seen())).await?;
            self.low_water.writers(writers, taken);
        }
        let started = Instant::now();
        let forwarded = match &mut self.transport {
            Transport::PostgresQueue(queue) => queue.tick(&leases, &mut self.low_water).await?,
            Transport::RabbitMq(stream) => stream.tick(&leases, &mut self.low_water).await?,
        };
        if forwarded == 0 {
            return Ok(Outcome::Idle);
        }
        metrics::counter!("outbox_published_total").increment(u64::try_from(forwarded).unwrap_or(0));
        metrics::histogram!("outbox_batch_duration_seconds").record(started.elapsed());
        let all = i64::try_from(forwarded).is_ok_and(|rows| rows < self.batch) && !self.low_water.sweeps_now();
        Ok(if all { Outcome::CaughtUp } else { Outcome::Forwarded })
    }
}
