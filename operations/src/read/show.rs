//! One event, or all events of one order, return, document or refund: their rows, their jobs, and the operator actions.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::actions::{self, OperatorAction};
use super::jobs::{self, Job};
use crate::OperationError;

/// Events shown of one aggregate; a return has six, with its refund nine.
const LIMIT: i64 = 100;

/// What is known of an id.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Shown {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// One event, or those of the aggregate in the order of their versions.
    pub events: Vec<Event>,
    /// Operator actions on any of these events, oldest first.
    pub actions: Vec<OperatorAction>,
}

/// An event: its row in the outbox, and its job in each queue.
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

/// Finds an event by its id, or the events of an aggregate by the aggregate's id.
///
/// # Errors
/// [`OperationError::EventNotFound`] for an id that is neither, or is older than the retention.
pub async fn show(pool: &PgPool, id: Uuid) -> Result<Shown, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let mut events = events_of(pool, id).await?;
    if events.is_empty() {
        return Err(OperationError::EventNotFound(id));
    }
    let event_ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
    for job in jobs::of_events(pool, &event_ids).await? {
        if let Some(event) = events.iter_mut().find(|event| event.event_id == job.event_id) {
            event.jobs.push(job);
        }
    }
    Ok(Shown { at, events, actions: actions::of_events(pool, &event_ids).await? })
}

/// No index has the aggregate's id, because it would slow every command down. So finding an aggregate reads the whole
/// outbox, and only when no event has the id.
async fn events_of(pool: &PgPool, id: Uuid) -> sqlx::Result<Vec<Event>> {
    let rows = sqlx::query!(
        r#"
        with event as (
            select * from messaging.outbox where event_id = $1
        ), of_aggregate as (
            select * from messaging.outbox where aggregate_id = $1 and not exists (select from event)
        )
        select event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!", occurred_at as "occurred_at!",
               shard as "shard!", published_at, attempts as "attempts!", last_error, next_attempt_at, parked_at,
               parked_reason, relay_epoch, headers as "headers!", payload as "payload!"
        from (select * from event union all select * from of_aggregate) as found
        order by aggregate_version
        limit $2
        "#,
        id,
        LIMIT,
    )
    .fetch_all(pool)
    .await?;
    let events = rows.into_iter().map(|row| Event {
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
    });
    Ok(events.collect())
}
