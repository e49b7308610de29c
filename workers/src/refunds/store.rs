//! The SQL over `work.refunds`: one row per return.

use chrono::{DateTime, Utc};
use contracts::RefundDocument;
use messaging::snapshots::Current;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

/// Our record of a refund. Whether it was paid, the gateway decides.
#[derive(Debug, Clone)]
pub(super) struct RefundRow {
    pub(super) id: Uuid,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) status: String,
    pub(super) version: i32,
    pub(super) transaction_id: Option<String>,
    pub(super) created_at: DateTime<Utc>,
}

/// The refund of a return, locked until the caller's transaction ends.
pub(super) async fn lock(conn: &mut PgConnection, return_id: Uuid) -> sqlx::Result<Option<RefundRow>> {
    sqlx::query_as!(
        RefundRow,
        r#"
        select id, amount_minor, currency, status, version, transaction_id, created_at
        from work.refunds where return_id = $1 for update
        "#,
        return_id
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    return_id: Uuid,
    order_id: Uuid,
    amount_minor: i64,
    currency: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<RefundRow> {
    sqlx::query_as!(
        RefundRow,
        r#"
        insert into work.refunds (id, return_id, order_id, amount_minor, currency, status, version, created_at)
        values ($1, $2, $3, $4, $5, 'PENDING', 1, $6)
        returning id, amount_minor, currency, status, version, transaction_id, created_at
        "#,
        id,
        return_id,
        order_id,
        amount_minor,
        currency,
        at,
    )
    .fetch_one(conn)
    .await
}

/// `false`: another attempt recorded the payment before.
pub(super) async fn mark_processed(
    conn: &mut PgConnection,
    id: Uuid,
    transaction_id: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        r#"
        update work.refunds set status = 'PROCESSED', version = version + 1, transaction_id = $1, processed_at = $2
        where id = $3 and status <> 'PROCESSED'
        "#,
        transaction_id,
        at,
        id,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

pub(super) async fn mark_failed(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update work.refunds set status = 'FAILED', version = version + 1 where id = $1", id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Keeps the document of the refund's last event, which [`page`] publishes again.
pub(super) async fn keep_document(conn: &mut PgConnection, refund: &RefundDocument) -> sqlx::Result<()> {
    sqlx::query!("update work.refunds set document = $1 where id = $2", Json(refund) as _, refund.id)
        .execute(conn)
        .await?;
    Ok(())
}

/// The refunds after the given id, in the order of their ids, as their last events show them.
pub(crate) async fn page(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    sqlx::query_as!(
        Current,
        r#"
        select id, version, document as "payload!: _"
        from work.refunds where id > $1 and document is not null
        order by id limit $2
        "#,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}
