//! The forwarding loop: a tick moves one batch; between ticks it sleeps until a hint or the next poll.

use std::time::{Duration, Instant};

use messaging::leases::{Leases, ShardGroup};
use messaging::wakeup::{Wakeup, gather};
use messaging::{BatchSize, TransportConfig};
use runtime::Tasks;
use runtime::backoff::Backoff;
use runtime::database::limited;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::Settings;
use crate::error::RelayError;
use crate::outcome::Outcome;
use crate::position::Position;
use crate::postgres_queue::PostgresQueue;
use crate::store::due_from::DueFrom;
use crate::store::exceptions;
use crate::stream::Stream;

/// Shortest and longest sleep when there is nothing to do and no hint comes.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The wait after an error. The cap is what an outage may cost beyond its end.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// How often the relay looks after the exceptions of its shards.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// That takes at most one second in so many, also under a held snapshot, where what has gone out is still looked at...
const SHARE: u32 = 20;
/// ...but it is never put off for longer: only this finds some events that have become free.
const TEND_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// How long a running batch may go on when the relay is asked to stop.
const FINISH: Duration = Duration::from_secs(5);

/// The way out of the outbox.
#[derive(Debug)]
enum Transport {
    PostgresQueue(PostgresQueue),
    RabbitMq(Box<Stream>),
}

/// Forwards the events of one group of the shards that this instance has leased.
#[derive(Debug)]
pub(crate) struct Relay {
    pool: PgPool,
    transport: Transport,
    group: ShardGroup,
    leases: watch::Receiver<Leases>,
    wakeup: Wakeup,
    batch: BatchSize,
    /// `None` after an error: what was read and not recorded is read again.
    position: Option<Position>,
    /// Shards at which the relay has stopped, because too many of their events cannot go out.
    full: Vec<i16>,
    tend_at: Instant,
    due_from: DueFrom,
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
        let (relay, max_attempts) = (name.to_owned(), settings.max_attempts);
        let transport = match transport.rabbitmq_url.clone() {
            None => Transport::PostgresQueue(PostgresQueue::new(pool.clone(), relay, max_attempts)),
            Some(url) => Transport::RabbitMq(Box::new(Stream::new(pool.clone(), url, relay, max_attempts))),
        };
        let batch = BatchSize::new("relay", settings.batch);
        let due_from = DueFrom::unknown(&leases.borrow().of_group(group));
        let (position, full, tend_at) = (None, Vec::new(), Instant::now());
        Self { pool, transport, group, leases, wakeup, batch, position, full, tend_at, due_from }
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
            tracing::warn!(%error, "the last batch is not recorded; a successor publishes it again");
        }
    }

    /// Ends what was started under the previous leases, still under these.
    async fn settle(&mut self) -> sqlx::Result<()> {
        let Some(position) = &mut self.position else { return Ok(()) };
        if let Transport::RabbitMq(stream) = &mut self.transport {
            stream.settle(position).await?;
        }
        limited(position.store_now(&self.pool)).await
    }

    /// Moves one batch.
    async fn tick(&mut self) -> Result<Outcome, RelayError> {
        let moved = self.try_tick().await;
        if moved.is_err() {
            self.position = None;
            if let Transport::RabbitMq(stream) = &mut self.transport {
                stream.forget();
            }
        }
        moved
    }

    async fn try_tick(&mut self) -> Result<Outcome, RelayError> {
        self.tend().await?;
        let leases = self.leases.borrow_and_update().of_group(self.group);
        if self.position.as_ref().is_none_or(|position| *position.leases() != leases) {
            self.settle().await?;
            // On the Postgres queue an event that is out has arrived.
            let arrives = matches!(self.transport, Transport::PostgresQueue(_));
            self.position = Some(limited(Position::load(&self.pool, leases, &self.full, arrives)).await?);
        }
        let Some(position) = self.position.as_mut().filter(|position| !position.leases().shards.is_empty()) else {
            return Ok(Outcome::Idle);
        };
        if !self.due_from.is_of(position.leases()) {
            self.due_from = DueFrom::unknown(position.leases());
        }
        if let Err(error) = limited(self.due_from.renew(&self.pool)).await {
            tracing::warn!(%error, "could not look at all exceptions");
        }
        position.look_for_exceptions_from(self.due_from.at());
        let (started, rows) = (Instant::now(), self.batch.rows());
        let moved = match &mut self.transport {
            Transport::PostgresQueue(queue) => queue.tick(position, rows).await,
            Transport::RabbitMq(stream) => stream.tick(position, rows).await,
        };
        match &moved {
            Ok(Outcome::Forwarded) => self.batch.succeeded(rows),
            Err(RelayError::Database(error)) => self.batch.failed(rows, error),
            _ => {}
        }
        let outcome = moved?;
        if outcome != Outcome::Idle {
            metrics::histogram!("outbox_batch_duration_seconds").record(started.elapsed());
        }
        Ok(outcome)
    }

    /// Looks after the exceptions.
    async fn tend(&mut self) -> sqlx::Result<()> {
        let started = Instant::now();
        if started < self.tend_at {
            return Ok(());
        }
        let leases = self.leases.borrow().of_group(self.group);
        limited(exceptions::tend(&self.pool, &leases)).await?;
        let full = limited(exceptions::full(&self.pool, &leases)).await?;
        let pause = (started.elapsed() * SHARE).clamp(TEND_EVERY, TEND_AT_LEAST_EVERY);
        if full != self.full {
            tracing::error!(alert = true, shards = ?full, most = exceptions::MOST_PER_SHARD,
                            "too many events of these shards cannot go out; the relay has stopped there");
            self.full = full;
            self.settle().await?;
            self.position = None;
        }
        self.tend_at = Instant::now() + pause;
        Ok(())
    }
}
