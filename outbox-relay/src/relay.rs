//! The forwarding loop: a tick moves one batch; between ticks it sleeps until a hint or the next poll.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use messaging::rabbitmq::{BrokerError, Publisher};
use messaging::{TransportConfig, Wakeup};
use runtime::{Tasks, faults};
use runtime::database::refuses_the_data;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::leases::Leases;
use crate::postgres_queue::{self, Routes, Source};
use crate::store::{self, Failed};
use crate::{Settings, broker};

/// Shortest and longest sleep when there is nothing to do and no hint comes.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Rows that commit later than this after they took their position wait for the full sweep.
const LATE_COMMIT: Duration = Duration::from_secs(5);
/// Every scan in between starts at the low-water mark.
const FULL_SWEEP: Duration = Duration::from_secs(30);
/// First and longest wait after an error.
const ERROR_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Wait before a row that Postgres refused is tried again.
const ROW_RETRY: Duration = Duration::from_secs(5);

/// What a tick did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// So many rows went out.
    Forwarded(usize),
    Idle,
}

/// The loop's error; every one of them means: wait and try again.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Forwards the rows of the shards this instance has leased.
#[derive(Debug)]
pub struct Relay {
    pool: PgPool,
    broker_url: Option<SecretString>,
    publisher: Option<Publisher>,
    settings: Settings,
    name: String,
    routes: Routes,
    leases: watch::Receiver<Leases>,
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
        leases: watch::Receiver<Leases>,
    ) -> Self {
        Self {
            pool,
            broker_url: transport.rabbitmq_url,
            publisher: None,
            settings,
            name,
            routes: Routes::new(),
            leases,
            scanned: Leases::default(),
            low_water: LowWater::new(),
        }
    }

    /// Forwards until shutdown.
    pub async fn run(mut self, tasks: Tasks) {
        let wakeup = Wakeup::start(&self.pool, messaging::outbox::CHANNEL, &tasks);
        let (mut idle, mut error_wait) = (POLL.0, ERROR_WAIT.0);
        while !tasks.shutdown.is_cancelled() {
            match self.tick().await {
                Ok(Outcome::Forwarded(_)) => (idle, error_wait) = (POLL.0, ERROR_WAIT.0),
                Ok(Outcome::Idle) => {
                    error_wait = ERROR_WAIT.0;
                    tokio::select! {
                        () = tasks.shutdown.cancelled() => {}
                        _changed = self.leases.changed() => {}
                        () = wakeup.wait(idle) => {}
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
    }

    /// Moves one batch.
    pub async fn tick(&mut self) -> Result<Outcome, RelayError> {
        let leases = self.leases.borrow_and_update().clone();
        if leases != self.scanned {
            // A shard that comes from another relay may bring rows from below our mark.
            self.low_water = LowWater::new();
            self.scanned.clone_from(&leases);
        }
        if leases.shards.is_empty() {
            return Ok(Outcome::Idle);
        }
        let started = Instant::now();
        let forwarded = match self.broker_url.clone() {
            None => self.tick_postgres(&leases).await?,
            Some(url) => self.tick_broker(&url, &leases).await?,
        };
        if forwarded == 0 {
            return Ok(Outcome::Idle);
        }
        metrics::counter!("outbox_published_total").increment(u64::try_from(forwarded).unwrap_or(0));
        metrics::histogram!("outbox_batch_duration_seconds").record(started.elapsed());
        Ok(Outcome::Forwarded(forwarded))
    }

    async fn tick_postgres(&mut self, leases: &Leases) -> Result<usize, RelayError> {
        let from = self.low_water.scan_from();
        let source = Source { relay: &self.name, shards: &leases.shards, from_position: from };
        faults::point("relay.batch.ready");
        let moved = postgres_queue::forward(&self.pool, source, &self.routes, self.settings.batch, None).await;
        faults::point("relay.batch.forwarded");
        let moved = match moved {
            Ok(moved) => moved,
            Err(error) if refuses_the_data(&error) => {
                tracing::warn!(%error, "batch refused; forwarding its rows one by one");
                return Ok(self.forward_one_by_one(leases, from).await?);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(position) = moved.last_position {
            self.low_water.seen(position);
        }
        moved.traceparents.iter().for_each(|parent| trace_published(Some(parent)));
        Ok(usize::try_from(moved.rows).unwrap_or(0))
    }

    /// One bad row must not hold up the others: it gets its back-off and finally its parking place.
    async fn forward_one_by_one(&mut self, leases: &Leases, from: i64) -> sqlx::Result<usize> {
        let mut forwarded = 0;
        for row in store::pending(&self.pool, &leases.shards, from, self.settings.batch).await? {
            let source = Source { relay: &self.name, shards: &leases.shards, from_position: from };
            match postgres_queue::forward(&self.pool, source, &self.routes, 1, Some(row.event_id)).await {
                Ok(_) => forwarded += 1,
                Err(error) if refuses_the_data(&error) => {
                    let parked = (row.attempts + 1 >= self.settings.max_attempts).then_some("ATTEMPTS_SPENT");
                    let failed = Failed { event_id: row.event_id, error: error.to_string(), parked, delay: ROW_RETRY };
                    self.record_failure(&failed).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(forwarded)
    }

    async fn tick_broker(&mut self, url: &SecretString, leases: &Leases) -> Result<usize, RelayError> {
        let from = self.low_water.scan_from();
        let batch = store::pending(&self.pool, &leases.shards, from, self.settings.batch).await?;
        let Some(last) = batch.last() else { return Ok(0) };
        faults::point("relay.batch.claimed");
        let publisher = match self.publisher.take() {
            Some(publisher) => publisher,
            None => Publisher::connect(url).await?,
        };
        // On an error the publisher is dropped here and the batch is read again: what went out twice, the inbox drops.
        let sent = broker::publish(&publisher, &batch, self.settings.max_attempts).await?;
        self.publisher = Some(publisher);
        faults::point("relay.batch.confirmed");
        for failed in &sent.failed {
            self.record_failure(failed).await?;
        }
        let marked = store::mark_published(&self.pool, leases, &sent.confirmed).await?;
        faults::point("relay.batch.marked");
        if usize::try_from(marked).unwrap_or(0) < sent.confirmed.len() {
            tracing::warn!(
                confirmed = sent.confirmed.len(),
                marked,
                "lease lost while publishing; the new owner publishes again"
            );
        }
        self.low_water.seen(last.position);
        batch
            .iter()
            .filter_map(|row| row.event.as_ref())
            .for_each(|event| trace_published(event.headers.traceparent.as_deref()));
        Ok(sent.confirmed.len() + sent.failed.len())
    }

    async fn record_failure(&mut self, failed: &Failed) -> sqlx::Result<()> {
        match failed.parked {
            Some(reason) => {
                metrics::counter!("outbox_parked_total", "reason" => reason).increment(1);
                tracing::error!(alert = true, event.id = %failed.event_id, reason, error = %failed.error, "outbox row parked");
            }
            None => {
                tracing::warn!(event.id = %failed.event_id, error = %failed.error, retry_in = ?failed.delay, "outbox row not published");
            }
        }
        self.low_water.sweep_in(failed.delay);
        store::mark_failed(&self.pool, failed).await
    }
}

/// The relay's place in the trace of each event, where the trace is sampled.
fn trace_published(traceparent: Option<&str>) {
    if traceparent.is_none_or(|parent| !parent.ends_with("-01")) {
        return;
    }
    let span = tracing::info_span!("relay.event.publish");
    runtime::telemetry::continue_trace(&span, traceparent);
    span.in_scope(|| {});
}

/// Where a scan may start, so that dead index entries of published rows cost nothing.
///
/// Positions commit out of order, so the mark trails [`LATE_COMMIT`] behind what has been seen, and a full sweep
/// every [`FULL_SWEEP`] finds what committed later still. A row that failed asks for a sweep when its turn comes.
#[derive(Debug)]
struct LowWater {
    mark: i64,
    seen: VecDeque<(Instant, i64)>,
    sweep_at: Instant,
}

impl LowWater {
    fn new() -> Self {
        Self { mark: 0, seen: VecDeque::new(), sweep_at: Instant::now() }
    }

    fn seen(&mut self, position: i64) {
        self.seen.push_back((Instant::now(), position));
    }

    fn sweep_in(&mut self, delay: Duration) {
        self.sweep_at = self.sweep_at.min(Instant::now() + delay);
    }

    fn scan_from(&mut self) -> i64 {
        while let Some((at, position)) = self.seen.front().copied()
            && at.elapsed() > LATE_COMMIT
        {
            self.mark = self.mark.max(position);
            self.seen.pop_front();
        }
        if Instant::now() >= self.sweep_at {
            self.sweep_at = Instant::now() + FULL_SWEEP;
            return 0;
        }
        self.mark
    }
}
