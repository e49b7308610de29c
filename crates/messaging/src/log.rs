//! The outbox as the log of what has happened, from which read models are rebuilt. It leaves out what an operator has
//! skipped, and includes what has not been published yet.

use contracts::Queue;
use serde_json::value::RawValue;
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use crate::inbox::{Job, Row};

/// An event without its content.
#[derive(Debug)]
pub struct Entry {
    pub event_id: Uuid,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
}

/// Up to `limit` entries before an event, newest first; only those of `aggregates`, if given.
pub async fn entries_before(
    executor: impl PgExecutor<'_>,
    event_id: Uuid,
    aggregates: Option<&[Uuid]>,
    limit: i64,
) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"
        select event_id, aggregate_id, aggregate_version
        from messaging.outbox
        where event_id < $1 and parked_reason is distinct from 'SKIPPED'
          and ($2::uuid[] is null or aggregate_id = any($2))
        order by event_id desc
        limit $3
        "#,
        event_id,
        aggregates,
        limit,
    )
    .fetch_all(executor)
    .await
}

/// How much of its payload comes with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    Whole,
    /// The snapshot is empty. It is most of an event, and this reader would throw it away.
    WithoutSnapshot,
}

/// Events by their ids, in the shape in which the projector takes them from its queue.
pub async fn events(executor: impl PgExecutor<'_>, ids: &[Uuid], payload: Payload) -> sqlx::Result<Vec<Job>> {
    let (Some(lowest), Some(highest)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    // The range lets the planner skip partitions; the list alone does not.
    let rows = sqlx::query_as!(
        Row,
        r#"
        select event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
               case when $1 and jsonb_typeof(payload -> 'snapshot') = 'object'
                    then jsonb_set(payload, '{snapshot}', '{}') else payload end as "payload!: Json<Box<RawValue>>",
               headers as "headers: Json<Box<RawValue>>",
               occurred_at, occurred_at as received_at, 1 as "attempts!", false as "in_doubt!", 0::int8 as "fence!"
        from messaging.outbox
        where event_id = any($2) and event_id between $3 and $4
        "#,
        payload == Payload::WithoutSnapshot,
        ids,
        lowest,
        highest,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_job(Queue::Projections)).collect())
}
