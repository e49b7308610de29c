//! Hints to relays and consumers that an operator has given them something to do.

use contracts::Queue;
use messaging::{inbox, outbox, wakeup};
use sqlx::PgPool;

/// Wakes the relays. Losing the hint costs them one polling interval.
pub(super) async fn wake_relays(pool: &PgPool) {
    wakeup::notify(pool, outbox::CHANNEL).await;
}

/// Wakes the consumers of a queue. The projector follows the outbox, and listens there.
pub(super) async fn wake_consumers(pool: &PgPool, queue: Queue) {
    let channel = if queue == Queue::Projections { outbox::CHANNEL.to_owned() } else { inbox::channel(queue) };
    wakeup::notify(pool, &channel).await;
}
