//! The SQL over `work.alerts`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::database::interval;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub(super) async fn insert(conn: &mut PgConnection, id: Uuid, at: DateTime<Utc>, body: &Value) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into work.alerts (id, raised_at, due_at, body) values ($1, $2, clock_timestamp(), $3)",
        id,
        at,
        body
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// An alert to send.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) id: Uuid,
    pub(super) body: Value,
    /// This one included.
    pub(super) attempts: i32,
}

/// Takes the oldest due alerts. No other process takes them within `hold`.
pub(super) async fn take(pool: &PgPool, limit: i64, hold: Duration) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"
        update work.alerts set due_at = clock_timestamp() + $2, attempts = attempts + 1
        where id = any(array(select id from work.alerts where due_at <= (select clock_timestamp()) order by due_at limit $1
                             for update skip locked))
        returning id, body, attempts
        "#,
        limit,
        interval(hold),
    )
    .fetch_all(pool)
    .await
}

pub(super) async fn delete(pool: &PgPool, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from work.alerts where id = $1", id).execute(pool).await?;
    Ok(())
}

pub(super) async fn put_back(pool: &PgPool, id: Uuid, wait: Duration) -> sqlx::Result<()> {
    sqlx::query!("update work.alerts set due_at = clock_timestamp() + $2 where id = $1", id, interval(wait))
        .execute(pool)
        .await?;
    Ok(())
}
