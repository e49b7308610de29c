//! Publishes every invoice and credit note again, for a rebuild of the read models after retention has dropped
//! events. See [`messaging::snapshots`].

use contracts::EntityType;
use messaging::snapshots::Republisher;

use crate::{credit_notes, invoices};

/// Publishes all of them, kind by kind. Returns how many there were.
pub async fn republish(republisher: &Republisher) -> sqlx::Result<u64> {
    let started_at = republisher.clock.now();
    let mut published = republisher.republish(EntityType::Invoice, invoices::page).await?;
    published += republisher.republish(EntityType::CreditNote, credit_notes::page).await?;
    republisher.finish("workers", started_at, published).await?;
    Ok(published)
}
