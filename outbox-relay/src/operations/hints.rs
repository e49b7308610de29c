//! Telling relays and consumers that an operator has given them something to do.

use contracts::Queue;
use messaging::{inbox, outbox};
use sqlx::PgPool;

/// Wakes the relays. A hint that is lost costs them one polling interval.
pub(super) async fn wake_relays(pool: &PgPool) {
    send(pool, outbox::CHANNEL).await;
}

/// Wakes the consumers of a queue.
pub(super) async fn wake_consumers(pool: &PgPool, queue: Queue) {
    send(pool, &inbox::channel(queue)).await;
}

async fn send(pool: &PgPool, channel: &str) {
    if let Err(error) = sqlx::query("select pg_notify($1, '')").bind(channel).execute(pool).await {
        tracing::debug!(channel, %error, "hint not sent");
    }
}
