//! The outbox as the log of what has happened, for read models that are made anew.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::inbox::{Job, Row};
use contracts::Queue;
use serde_json::value::RawValue;
use sqlx::types::Json;

/// Up to `limit` events before this one, the newest first, as the projector would have them. What an operator has
/// skipped is left out; what is still on its way is not.
pub async fn before(executor: impl PgExecutor<'_>, event_id: Uuid, limit: i64) -> sqlx::Result<Vec<Job>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
               payload as "payload: Json<Box<RawValue>>", headers as "headers: Json<Box<RawValue>>",
               occurred_at, occurred_at as received_at, 1 as "attempts!", false as "in_doubt!", 0::int8 as "fence!"
        from messaging.outbox
        where event_id < $1 and parked_reason is distinct from 'SKIPPED'
        order by event_id desc
        limit $2
        "#,
        event_id,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_job(Queue::Projections)).collect())
}
