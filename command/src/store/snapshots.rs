//! The current orders, returns and refunds, page by page.

use messaging::snapshots::Current;
use sqlx::PgConnection;
use uuid::Uuid;

/// Locked, so that none is erased before its snapshot is written. What an event holds: of an order or a return what has been added to its frozen document, of a refund the whole document.
macro_rules! page {
    ($conn:expr, $after:expr, $limit:expr, $payload:literal, $table:literal) => {
        sqlx::query_as!(
            Current,
            r#"
            select id, version, "#
                + $payload
                + r#" as "payload!: _" from "#
                + $table
                + " where id > $1 order by id limit $2 for share",
            $after,
            $limit,
        )
        .fetch_all($conn)
        .await
    };
}

pub(crate) async fn current_orders(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "progress", "command.orders")
}

pub(crate) async fn current_returns(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "progress", "command.returns")
}

pub(crate) async fn current_refunds(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "command.refund_document(refund)", "command.refunds as refund")
}
