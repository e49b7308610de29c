//! Republishes every order, return and refund, for a rebuild of the read models: see [`messaging::snapshots`].

use contracts::EntityType;
use messaging::snapshots::Republisher;

use crate::store;

/// All orders, then all returns, then all refunds. Returns how many.
pub async fn republish(republisher: &Republisher) -> sqlx::Result<u64> {
    let started_at = republisher.clock.now();
    let orders = republisher.republish(EntityType::Order, store::current_orders).await?;
    let returns = republisher.republish(EntityType::Return, store::current_returns).await?;
    let refunds = republisher.republish(EntityType::Refund, store::current_refunds).await?;
    let published = orders + returns + refunds;
    republisher.finish("command", started_at, published).await?;
    Ok(published)
}
