//! The SQL over `work.document_series`: one row per series of numbers.

use sqlx::PgConnection;

/// The next number of a series. The series stays locked until the caller's transaction ends.
pub(super) async fn next_in_series(conn: &mut PgConnection, series: &str) -> sqlx::Result<i32> {
    sqlx::query_scalar!(
        r#"
        insert into work.document_series as existing (series, last_number) values ($1, 1)
        on conflict (series) do update set last_number = existing.last_number + 1
        returning last_number
        "#,
        series
    )
    .fetch_one(conn)
    .await
}
