//! Follows the log with a [`Projector`]. An event that is applied twice changes nothing: the versions guard every write.

use std::time::{Duration, Instant};

use contracts::Queue;
use messaging::inbox::{Job, RetriedFrom};
use messaging::leases::Consumer;
use messaging::log::{self, Limit, LookAt, Place, Reader, Seen};
use runtime::database::limited;
use sqlx::PgPool;

use super::{Projector, store};

/// How often the follower looks for events that an operator has retried, or that were put off.
const RETRIED_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of stored payload in one batch, here and in a rebuild.
pub(crate) const MAX_BATCH_BYTES: i64 = 8 * 1024 * 1024;

/// The projector as a reader of the log.
#[derive(Debug)]
pub(crate) struct Projecting {
    projector: Projector,
    messaging: PgPool,
    retried_at: Instant,
    retried_from: RetriedFrom,
}

impl Projecting {
    pub(crate) fn new(projector: Projector, messaging: PgPool) -> Self {
        let retried_from = RetriedFrom::unknown(Queue::Projections);
        Self { projector, messaging, retried_at: Instant::now(), retried_from }
    }
}

impl Reader for Projecting {
    const CONSUMER: Consumer = Consumer::Projections;
    const NAME: &'static str = "projector";
    type Event = Job;

    async fn is_ready(&mut self, rows: i64) -> sqlx::Result<bool> {
        if store::is_paused(&self.messaging, Queue::Projections).await? {
            return Ok(false);
        }
        if Instant::now() >= self.retried_at {
            if let Err(error) = limited(self.retried_from.renew(&self.messaging)).await {
                tracing::warn!(%error, "could not look at all retried events");
            }
            self.projector.apply_retried(&self.retried_from, rows).await?;
            self.retried_at = Instant::now() + RETRIED_EVERY;
        }
        Ok(true)
    }

    async fn read(&self, place: &Place, look_at: &LookAt, rows: i64) -> sqlx::Result<Seen> {
        let limit = Limit { rows, bytes: MAX_BATCH_BYTES };
        log::follow(&self.messaging, Queue::Projections, place, look_at, limit).await
    }

    async fn apply(&mut self, events: &[Job]) -> sqlx::Result<()> {
        self.projector.apply(events).await.map(drop)
    }
}
