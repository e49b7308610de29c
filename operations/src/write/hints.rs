//! Hints to relays and consumers that an operator has given them something to do.

use contracts::Queue;
use messaging::{inbox, outbox, wakeup};
use sqlx::PgPool;

/// Wakes the relays. Losing the hint costs them one polling interval.
pub(super) async fn wake_relays(pool: &PgPool) {
    wakeup::notify(pool, outbox::CHANNEL).await;
}

/// Wakes the consumers of a queue.
pub(super) async fn wake_consumers(pool: &PgPool, queue: Queue) {
    wakeup::notify(pool, &inbox::channel(queue)).await;
}
