//! One event, or all of one order, return, invoice or refund: where each stands and what was done to it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::OperationError;
use super::acts::{self, Act};
use super::jobs::{self, Job};

/// Events shown of one aggregate; a return has six, with its refund nine.
const MOST: i64 = 100;

/// What is known.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Shown {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// One, or those of the aggregate in the order of their versions.
    pub events: Vec<Event>,
    /// What operators did to any of them, oldest first.
    pub acts: Vec<Act>,
}

/// An event: its row in the outbox, and what became of it in each queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Event {
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    pub occurred_at: DateTime<Utc>,
    pub shard: i16,
    pub published_at: Option<DateTime<Utc>>,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub parked_at: Option<DateTime<Utc>>,
    pub parked_reason: Option<String>,
    pub relay_epoch: Option<i64>,
    #[schema(value_type = Object)]
    pub headers: Value,
    #[schema(value_type = Object)]
    pub payload: Value,
    pub jobs: Vec<Job>,
}

/// Finds an event by its id, or the events of an aggregate by its.
///
/// # Errors
/// [`OperationError::EventNotFound`] for an id that is neither, or is older than the retention.
pub async fn show(pool: &PgPool, id: Uuid) -> Result<Shown, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let mut events = by_event(pool, id).await?;
    if events.is_empty() {
        events = by_aggregate(pool, id).await?;
    }
    if events.is_empty() {
        return Err(OperationError::EventNotFound(id));
    }
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    for job in jobs::of_events(pool, &ids).await? {
        if let Some(event) = events.iter_mut().find(|event| event.event_id == job.event_id) {
            event.jobs.push(job);
        }
    }
    Ok(Shown { at, events, acts: acts::about(pool, &ids).await? })
}

macro_rules! events {
    ($pool:expr, $condition:literal, $($argument:expr),+) => {{
        let rows = sqlx::query!(
            "select event_id, event_type, aggregate_type, aggregate_id, aggregate_version, occurred_at, shard, published_at,
                    attempts, last_error, next_attempt_at, parked_at, parked_reason, relay_epoch, headers, payload
             from messaging.outbox where " + $condition,
            $($argument),+
        )
        .fetch_all($pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Event {
                event_id: row.event_id,
                event_type: row.event_type,
                aggregate_type: row.aggregate_type,
                aggregate_id: row.aggregate_id,
                aggregate_version: row.aggregate_version,
                occurred_at: row.occurred_at,
                shard: row.shard,
                published_at: row.published_at,
                attempts: row.attempts,
                last_error: row.last_error,
                next_attempt_at: row.next_attempt_at,
                parked_at: row.parked_at,
                parked_reason: row.parked_reason,
                relay_epoch: row.relay_epoch,
                headers: row.headers,
                payload: row.payload,
                jobs: Vec::new(),
            })
            .collect())
    }};
}

async fn by_event(pool: &PgPool, id: Uuid) -> sqlx::Result<Vec<Event>> {
    events!(pool, "event_id = $1", id)
}

/// No index knows aggregates (each would cost every command), so this reads the outbox through.
async fn by_aggregate(pool: &PgPool, id: Uuid) -> sqlx::Result<Vec<Event>> {
    events!(pool, "aggregate_id = $1 order by aggregate_version limit $2", id, MOST)
}
