//! The outbox as the log of what has happened: read models follow it as it grows, and are rebuilt from it.
//!
//! A reader of the log sees every committed event. Whether an event could be sent to the job queues, and whether an operator
//! skipped it there, makes no difference.

mod progress;
mod arrivals;
mod marks;
mod place;
mod follow;
mod follower;

use contracts::Queue;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::inbox::{Job, Row};
use crate::leases::{ARRIVED, Consumer, Leases};

pub use arrivals::{Arrivals, Window};
pub use follow::{Headline, Limit, Seen, follow, follow_headlines};
pub use follower::{Follower, Reader};
pub use marks::caught_up;
pub use place::Place;
pub use progress::{Covered, LookAt, Mark};

/// Records that every event of these shards up to a position has arrived in the inboxes of its queues.
pub async fn record_arrival(pool: &PgPool, leases: &Leases, position: i64) -> sqlx::Result<()> {
    marks::store(pool, Consumer::Relay, &[ARRIVED], leases, Mark { position, since: None }).await
}

/// An event without its content.
#[derive(Debug)]
pub struct Entry {
    pub event_id: Uuid,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
}

/// Up to `limit` entries before an event, newest first.
pub async fn entries_before(executor: impl PgExecutor<'_>, event_id: Uuid, limit: i64) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as!(
        Entry,
        r#"
        select event_id, aggregate_id, aggregate_version
        from messaging.outbox
        where event_id < $1
        order by event_id desc
        limit $2
        "#,
        event_id,
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

/// Events by their ids, in the order of the ids, in the shape in which the projector takes them from its queue. After `bytes` of
/// stored payload it stops: then the events after the last one are missing. The first is read however large it is.
pub async fn events(
    executor: impl PgExecutor<'_>,
    ids: &[Uuid],
    payload: Payload,
    bytes: i64,
) -> sqlx::Result<Vec<Job>> {
    let (Some(lowest), Some(highest)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    // The range lets the planner skip partitions; the list alone does not.
    let rows = sqlx::query_as!(
        Row,
        r#"
        select event_id as "event_id!", event_type as "event_type?", aggregate_type as "aggregate_type?",
               aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!",
               case when $1 then messaging.payload_of(event_type, '{}', null, audit)
                    else messaging.payload_of(event_type, added, document, audit) end as payload,
               messaging.headers_of(traceparent, schema_version, audit) as "headers?: Json<Box<RawValue>>",
               occurred_at as "occurred_at?", occurred_at as "received_at!", 1 as "attempts!", false as "in_doubt!"
        from (
            select event_id, event_type, aggregate_type, aggregate_id, aggregate_version, occurred_at, schema_version, traceparent,
                   added, audit, document,
                   coalesce(sum(stored_bytes) over (order by event_id rows between unbounded preceding and 1 preceding), 0)
                       as bytes_before
            from messaging.events
            where event_id = any($2) and event_id between $3 and $4
        ) as event
        where bytes_before <= $5
        order by event_id
        "#,
        payload == Payload::WithoutSnapshot,
        ids,
        lowest,
        highest,
        bytes,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_job(Queue::Projections, Uuid::nil())).collect())
}
