//! Consuming in batches: rows are taken, applied and finished in one transaction of the consumer.

use contracts::Queue;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::job::{Job, Row};

/// Locks up to `limit` ready rows of a queue for the caller's transaction; none while the queue is paused.
/// Skips rows that another consumer has locked.
pub async fn take_batch(conn: &mut PgConnection, queue: Queue, limit: i64) -> sqlx::Result<Vec<Job>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
               payload as "payload: Json<Box<RawValue>>", headers as "headers: Json<Box<RawValue>>",
               occurred_at, received_at, attempts + 1 as "attempts!", status = 'in_doubt' as "in_doubt!", fence
        from messaging.inbox
        where queue = $1 and status in ('ready', 'in_doubt') and run_at <= clock_timestamp()
          and not exists (select from messaging.queues where name = $1 and paused_at is not null)
        order by run_at
        limit $2
        for update skip locked
        "#,
        queue.as_str(),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_job(queue)).collect())
}

/// Marks rows taken with [`take_batch`] as done.
pub async fn finish_batch(conn: &mut PgConnection, queue: Queue, event_ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'done', attempts = attempts + 1, finished_at = clock_timestamp()
        where queue = $1 and event_id = any($2)
        "#,
        queue.as_str(),
        event_ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks a row as dead: it cannot be consumed (undecodable, unknown type), and a retry would not change that.
pub async fn dead_letter(conn: &mut PgConnection, queue: Queue, event_id: Uuid, reason: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'dead', attempts = attempts + 1, finished_at = clock_timestamp(), last_error = $1,
            lease_owner = null, leased_until = null
        where queue = $2 and event_id = $3
        "#,
        reason,
        queue.as_str(),
        event_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}
