//! Tells of every invoice, credit note and refund again, for read models that are made anew: see
//! [`messaging::snapshots`].

use contracts::EntityType;
use messaging::snapshots::{Current, Teller};
use sqlx::PgConnection;
use uuid::Uuid;

/// All of them, kind by kind. Returns how many there were.
pub async fn tell_again(teller: &Teller) -> sqlx::Result<u64> {
    let started_at = teller.clock.now();
    let mut told = teller.tell(EntityType::Invoice, invoices).await?;
    told += teller.tell(EntityType::CreditNote, credit_notes).await?;
    told += teller.tell(EntityType::Refund, refunds).await?;
    teller.finish("workers", started_at, told).await?;
    Ok(told)
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
