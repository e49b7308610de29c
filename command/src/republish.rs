//! Republishes every order and return, for a rebuild of the read models: see [`messaging::snapshots`].

use contracts::EntityType;
use messaging::snapshots::Republisher;

use crate::store;

/// All orders, then all returns. Returns how many.
pub async fn republish(republisher: &Republisher) -> sqlx::Result<u64> {
    let started_at = republisher.clock.now();
    let orders = republisher.republish(EntityType::Order, store::current_orders).await?;
    let returns = republisher.republish(EntityType::Return, store::current_returns).await?;
    republisher.finish("command", started_at, orders + returns).await?;
    Ok(orders + returns)
}
