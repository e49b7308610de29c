//! Records a delivery for each event and each endpoint that wants it.

use std::sync::Arc;

use contracts::EventType;
use messaging::leases::Consumer;
use messaging::log::{self, Headline, LookAt, Place, Reader, Seen};
use sqlx::PgPool;
use tokio::sync::Notify;

use super::store;

/// A reader of the log.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) pool: PgPool,
    /// Wakes the deliverer of this process.
    pub(super) recorded: Arc<Notify>,
}

impl Reader for Feed {
    const CONSUMER: Consumer = Consumer::Webhooks;
    const NAME: &'static str = "webhook feed";
    type Event = Headline;

    async fn is_ready(&mut self, _: i64) -> sqlx::Result<bool> {
        Ok(true)
    }

    async fn read(&self, place: &Place, look_at: &LookAt, rows: i64) -> sqlx::Result<Seen<Headline>> {
        log::follow_headlines(&self.pool, place, look_at, rows).await
    }

    async fn apply(&mut self, events: &[Headline]) -> sqlx::Result<()> {
        let is_news = |event: &&Headline| event.event_type != EventType::SnapshotTaken.as_str();
        let news: Vec<_> = events.iter().filter(is_news).collect();
        if store::record(&self.pool, &news).await? > 0 {
            self.recorded.notify_one();
        }
        Ok(())
    }
}
