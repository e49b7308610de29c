//! The loop of a reader that follows the log.
//!
//! Nothing is recorded per event or per batch: the marks of the shards are stored every two seconds. After a crash the
//! events since then come again, so a reader must be able to apply an event twice.

use std::time::Duration;

use runtime::Tasks;
use runtime::backoff::Backoff;
use runtime::database::limited;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::follow::Seen;
use super::place::Place;
use super::progress::LookAt;
use crate::BatchSize;
use crate::leases::{self, Consumer, Leases};
use crate::wakeup::{Wakeup, gather};

/// Waits between attempts while the database fails.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// What is made of the events.
pub trait Reader: Send + 'static {
    const CONSUMER: Consumer;
    /// Of the task, and in logs.
    const NAME: &'static str;
    /// What it reads of an event.
    type Event: Send + Sync;

    /// Called before each read of up to `rows` events. False: nothing is read this time.
    fn is_ready(&mut self, rows: i64) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Reads what is new.
    fn read(
        &self,
        place: &Place,
        look_at: &LookAt,
        rows: i64,
    ) -> impl Future<Output = sqlx::Result<Seen<Self::Event>>> + Send;

    fn apply(&mut self, events: &[Self::Event]) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// What one tick did.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It applied a batch, and there may be more.
    Applied,
    /// It applied all there was. What is committed later sends a hint of its own.
    CaughtUp,
    /// There was nothing, or the reader was not ready.
    Idle,
}

/// Follows the log with a reader, in the shards that it has leases on.
#[derive(Debug)]
pub struct Follower<R> {
    reader: R,
    pool: PgPool,
    leases: watch::Receiver<Leases>,
    wakeup: Wakeup,
    poll: Duration,
    batch: BatchSize,
    /// `None` after an error: what was read and not applied is read again.
    place: Option<Place>,
}

impl<R: Reader> Follower<R> {
    /// `name` must be unique among the living readers of this consumer. At most `rows` events are applied at once. Without a hint it looks
    /// every `look_every`.
    pub fn start(reader: R, pool: &PgPool, name: String, rows: i64, look_every: Duration, tasks: &Tasks) {
        let follower = Self {
            reader,
            pool: pool.clone(),
            leases: leases::start(pool.clone(), R::CONSUMER, name, tasks),
            wakeup: Wakeup::start(pool, crate::outbox::CHANNEL, tasks),
            poll: look_every,
            batch: BatchSize::new(R::NAME, rows),
            place: None,
        };
        tasks.spawn(R::NAME, follower.run(tasks.shutdown.clone()));
    }

    /// Follows until shutdown. Shutdown waits for the current tick, which is limited in time.
    async fn run(mut self, shutdown: CancellationToken) {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let (started, rows) = (tokio::time::Instant::now(), self.batch.rows());
            match limited(self.tick(rows)).await {
                Ok(Outcome::Applied) => {
                    failures = 0;
                    self.batch.succeeded(rows);
                }
                Ok(outcome) => {
                    failures = 0;
                    // Events that arrived during the tick have sent their own wake-up.
                    let wait = async {
                        if outcome == Outcome::CaughtUp {
                            gather(started).await;
                        }
                        self.wakeup.wait(self.poll).await;
                    };
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        _changed = self.leases.changed() => {}
                        () = wait => {}
                    }
                }
                Err(error) => {
                    failures += 1;
                    self.place = None;
                    self.batch.failed(rows, &error);
                    let pause = RETRY.delay(failures);
                    tracing::error!(reader = R::NAME, %error, retry_in_ms = pause.as_millis(), "reading the log failed");
                    tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
                }
            }
        }
        if let Some(place) = &mut self.place
            && let Err(error) = limited(place.store_now(&self.pool)).await
        {
            tracing::warn!(reader = R::NAME, %error, "could not store the mark; a successor applies some events again");
        }
    }

    /// Applies one batch of up to `rows` events.
    async fn tick(&mut self, rows: i64) -> sqlx::Result<Outcome> {
        let leases = self.leases.borrow_and_update().clone();
        if self.place.as_ref().is_none_or(|place| *place.leases() != leases) {
            if let Some(place) = &mut self.place {
                place.store_now(&self.pool).await?;
            }
            self.place = Some(Place::load(&self.pool, R::CONSUMER, leases).await?);
        }
        let Some(place) = self.place.as_mut().filter(|place| !place.leases().shards.is_empty()) else {
            return Ok(Outcome::Idle);
        };
        if !self.reader.is_ready(rows).await? {
            return Ok(Outcome::Idle);
        }
        let look_at = place.look_at(&self.pool).await?;
        let seen = self.reader.read(place, &look_at, rows).await?;
        if !seen.events.is_empty() {
            self.reader.apply(&seen.events).await?;
        }
        let covered = place.saw(&look_at, &seen.positions, seen.stopped_at_limit);
        place.handled(covered);
        place.store(&self.pool).await?;
        Ok(match (seen.stopped_at_limit, seen.events.is_empty()) {
            (true, _) => Outcome::Applied,
            (false, false) => Outcome::CaughtUp,
            (false, true) => Outcome::Idle,
        })
    }
}
