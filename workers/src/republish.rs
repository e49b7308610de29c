//! Publishes every invoice, credit note and refund again, for a rebuild of the read models after retention has dropped
//! events. See [`messaging::snapshots`].

use contracts::EntityType;
use messaging::snapshots::Republisher;

use crate::{credit_notes, invoices, refunds};

/// Publishes all of them, kind by kind. Returns how many there were.
pub async fn republish(republisher: &Republisher) -> sqlx::Result<u64> {
    let started_at = republisher.clock.now();
    let mut published = republisher.republish(EntityType::Invoice, invoices::page).await?;
    published += republisher.republish(EntityType::CreditNote, credit_notes::page).await?;
    published += republisher.republish(EntityType::Refund, refunds::page).await?;
    republisher.finish("workers", started_at, published).await?;
    Ok(published)
}
