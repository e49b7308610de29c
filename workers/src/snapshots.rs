//! Republishes every invoice, credit note and refund, for a rebuild of the read models: see [`messaging::snapshots`].

use contracts::EntityType;
use messaging::snapshots::{Current, Republisher};
use sqlx::PgConnection;
use uuid::Uuid;

/// All of them, kind by kind. Returns how many.
pub async fn republish(republisher: &Republisher) -> sqlx::Result<u64> {
    let started_at = republisher.clock.now();
    let mut published = republisher.republish(EntityType::Invoice, invoices).await?;
    published += republisher.republish(EntityType::CreditNote, credit_notes).await?;
    published += republisher.republish(EntityType::Refund, refunds).await?;
    republisher.finish("workers", started_at, published).await?;
    Ok(published)
}

/// Those whose last event is known; a number without a PDF has none yet.
macro_rules! page {
    ($conn:expr, $after:expr, $limit:expr, $version:literal, $table:literal) => {
        sqlx::query_as!(
            Current,
            "select id, "
                + $version
                + r#" as "version!", document as "document!: _" from work."#
                + $table
                + " where id > $1 and document is not null order by id limit $2",
            $after,
            $limit,
        )
        .fetch_all($conn)
        .await
    };
}

async fn invoices(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "1", "invoices")
}

async fn credit_notes(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "1", "credit_notes")
}

async fn refunds(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "version", "refunds")
}
