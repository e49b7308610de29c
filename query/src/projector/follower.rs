//! Follows the log with a [`Projector`].
//!
//! Nothing is recorded per event or per batch: the marks of the shards are stored every two seconds. After a crash the
//! events since then come again, and the version guards make that harmless.

use std::time::{Duration, Instant};

use contracts::Queue;
use messaging::BatchSize;
use messaging::leases::{Consumer, Leases};
use messaging::log::{self, Limit, Place};
use messaging::wakeup::{Wakeup, gather};
use runtime::Tasks;
use runtime::backoff::Backoff;
use runtime::database::limited;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Projector, store};
use crate::settings::Settings;

/// Waits between attempts while the database fails.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// How often the follower looks for events that an operator has retried, or that were put off.
const RETRIED_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of stored payload in one batch, here and in a rebuild.
pub(crate) const MAX_BATCH_BYTES: i64 = 8 * 1024 * 1024;

/// What one tick did.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It applied a batch, and there may be more.
    Applied,
    /// It applied all there was. What is committed later sends a hint of its own.
    CaughtUp,
    /// There was nothing, or the queue is paused.
    Idle,
}

/// The loop of the projector.
#[derive(Debug)]
pub(crate) struct Follower {
    projector: Projector,
    messaging: PgPool,
    leases: watch::Receiver<Leases>,
    wakeup: Wakeup,
    poll: Duration,
    batch: BatchSize,
    /// `None` after an error: what was read and not applied is read again.
    place: Option<Place>,
    retried_at: Instant,
}

impl Follower {
    pub(crate) fn start(projector: Projector, messaging: &PgPool, settings: &Settings, name: String, tasks: &Tasks) {
        let follower = Self {
            projector,
            messaging: messaging.clone(),
            leases: messaging::leases::start(messaging.clone(), Consumer::Projections, name, tasks),
            wakeup: Wakeup::start(messaging, messaging::outbox::CHANNEL, tasks),
            poll: settings.projection_poll(),
            batch: BatchSize::new("projector", settings.projection_batch),
            place: None,
            retried_at: Instant::now(),
        };
        tasks.spawn("projector", follower.run(tasks.shutdown.clone()));
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
                    tracing::error!(%error, retry_in_ms = pause.as_millis(), "projection failed");
                    tokio::select! { () = shutdown.cancelled() => {}, () = tokio::time::sleep(pause) => {} }
                }
            }
        }
        if let Some(place) = &mut self.place
            && let Err(error) = limited(place.store_now(&self.messaging)).await
        {
            tracing::warn!(%error, "could not store the mark; a successor applies some events again");
        }
    }

    /// Applies one batch of up to `rows` events.
    async fn tick(&mut self, rows: i64) -> sqlx::Result<Outcome> {
        let leases = self.leases.borrow_and_update().clone();
        if self.place.as_ref().is_none_or(|place| *place.leases() != leases) {
            if let Some(place) = &mut self.place {
                place.store_now(&self.messaging).await?;
            }
            self.place = Some(Place::load(&self.messaging, Consumer::Projections, leases).await?);
        }
        let Some(place) = self.place.as_mut().filter(|place| !place.leases().shards.is_empty()) else {
            return Ok(Outcome::Idle);
        };
        if store::is_paused(&self.messaging, Queue::Projections).await? {
            return Ok(Outcome::Idle);
        }
        if Instant::now() >= self.retried_at {
            self.projector.apply_retried(rows).await?;
            self.retried_at = Instant::now() + RETRIED_EVERY;
        }
        let limit = Limit { rows, bytes: MAX_BATCH_BYTES };
        let look_at = place.look_at(&self.messaging).await?;
        let seen = log::follow(&self.messaging, Queue::Projections, place, &look_at, limit).await?;
        if !seen.events.is_empty() {
            self.projector.apply(&seen.events).await?;
        }
        let covered = place.saw(&look_at, &seen.positions, seen.stopped_at_limit);
        place.handled(covered);
        place.store(&self.messaging).await?;
        Ok(match (seen.stopped_at_limit, seen.events.is_empty()) {
            (true, _) => Outcome::Applied,
            (false, false) => Outcome::CaughtUp,
            (false, true) => Outcome::Idle,
        })
    }
}
