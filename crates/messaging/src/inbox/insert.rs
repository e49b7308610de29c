//! Putting events into a queue.

use contracts::{Envelope, Queue};
use sqlx::PgExecutor;
use uuid::Uuid;

/// Puts events into a queue and leaves alone those that it has seen before. Returns how many were new.
///
/// The events themselves stay in the log: a claim joins them to its jobs.
pub async fn insert(executor: impl PgExecutor<'_>, queue: Queue, events: &[Envelope]) -> sqlx::Result<u64> {
    let event_ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    let aggregate_ids: Vec<Uuid> = events.iter().map(|event| event.aggregate_id).collect();
    let versions: Vec<i32> = events.iter().map(|event| event.aggregate_version).collect();
    let inserted = sqlx::query!(
        r#"
        insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
        select $1, event.*, due
        from messaging.due_now($1) as due, unnest($2::uuid[], $3::uuid[], $4::int[]) as event
        on conflict do nothing
        "#,
        queue.as_str(),
        &event_ids,
        &aggregate_ids,
        &versions,
    )
    .execute(executor)
    .await?;
    Ok(inserted.rows_affected())
}
