//! The current orders and returns, page by page.

use messaging::snapshots::Current;
use sqlx::PgConnection;
use uuid::Uuid;

/// What an event of an order or a return holds: what has been added to its frozen document.
macro_rules! page {
    ($conn:expr, $after:expr, $limit:expr, $table:literal) => {
        sqlx::query_as!(
            Current,
            r#"
            select id, version, progress as "payload!: _"
            from "#
                + $table
                + " where id > $1 order by id limit $2",
            $after,
            $limit,
        )
        .fetch_all($conn)
        .await
    };
}

pub(crate) async fn current_orders(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "command.orders")
}

pub(crate) async fn current_returns(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    page!(conn, after, limit, "command.returns")
}
