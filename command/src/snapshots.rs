//! Tells of every order and return again, for read models that are made anew: see [`messaging::snapshots`].

use contracts::EntityType;
use messaging::snapshots::Teller;

use crate::store;

/// All orders, then all returns. Returns how many there were.
pub async fn tell_again(teller: &Teller) -> sqlx::Result<u64> {
    let started_at = teller.clock.now();
    let orders = teller.tell(EntityType::Order, store::current_orders).await?;
    let returns = teller.tell(EntityType::Return, store::current_returns).await?;
    teller.finish("command", started_at, orders + returns).await?;
    Ok(orders + returns)
}
