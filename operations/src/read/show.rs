//! One event, or all events of one order, return, document or refund: their rows, their jobs, and the operator actions.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::actions::{self, OperatorAction};
use super::investigations::{self, Investigation};
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
    /// Who looks into any of these events.
    pub investigations: Vec<Investigation>,
}

/// An event: its row in the outbox, its way out, and its job in each queue.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Event {
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    pub occurred_at: DateTime<Utc>,
    pub shard: i16,
    /// Its place in the log.
    pub position: i64,
    /// It went out, and does not wait to go out again.
    pub published: bool,
    /// When its first batch had arrived. Null also for a published event whose batch is not found among the next 200.
    pub published_at: Option<DateTime<Utc>>,
    /// `WAITING` for its next attempt, `PARKED`, `HELD` behind an earlier event, or `SKIPPED`. Null: it went or goes out with
    /// the others.
    pub exception: Option<String>,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub parked_at: Option<DateTime<Utc>>,
    pub parked_reason: Option<String>,
    /// The relay that sent its first batch.
    pub relay: Option<String>,
    /// The epoch of the lease under which it was sent.
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
    let event_ids = found(pool, id).await?;
    let mut events = of_ids(pool, &event_ids).await?;
    for job in jobs::of_events(pool, &event_ids).await? {
        if let Some(event) = events.iter_mut().find(|event| event.event_id == job.event_id) {
            event.jobs.push(job);
        }
    }
    let actions = actions::of_events(pool, &event_ids).await?;
    let investigations = investigations::of_events(pool, &event_ids).await?;
    Ok(Shown { at, events, actions, investigations })
}

/// The ids of the events that [`show`] shows.
///
/// # Errors
/// As [`show`].
pub(crate) async fn found(pool: &PgPool, id: Uuid) -> Result<Vec<Uuid>, OperationError> {
    let event_ids = ids_of(pool, id).await?;
    if event_ids.is_empty() { Err(OperationError::EventNotFound(id)) } else { Ok(event_ids) }
}

/// Whether the log has an event with this id.
pub async fn is_event(pool: &PgPool, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from messaging.outbox where event_id = $1) as "is!""#, id)
        .fetch_one(pool)
        .await
}

/// No index has the aggregate's id, because it would slow every command down. So finding an aggregate reads the whole
/// outbox, and only when no event has the id.
async fn ids_of(pool: &PgPool, id: Uuid) -> sqlx::Result<Vec<Uuid>> {
    if is_event(pool, id).await? {
        return Ok(vec![id]);
    }
    sqlx::query_scalar!(
        "select event_id from messaging.outbox where aggregate_id = $1 order by aggregate_version, event_id limit $2",
        id,
        LIMIT,
    )
    .fetch_all(pool)
    .await
}

/// The events of these ids, by version, without their jobs.
///
/// A batch is found by its highest position, and most events are in the first batch that reaches theirs. One that failed and
/// went out later is some batches further.
pub(super) async fn of_ids(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Event>> {
    let rows = sqlx::query!(
        r#"
        with found as materialized (
            select * from messaging.events where event_id = any($1)
        )
        select found.event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               found.aggregate_id as "aggregate_id!", found.aggregate_version as "aggregate_version!",
               occurred_at as "occurred_at!", found.shard as "shard!", found.position as "position!",
               exception.event_id is null and (batch.relay is not null or found.position <= last.mark) as "published!",
               batch.confirmed_at as "published_at?", exception.status as "exception?",
               coalesce(exception.attempts, batch.times, 0)::integer as "attempts!", exception.last_error as "last_error?",
               exception.next_attempt_at as "next_attempt_at?", exception.parked_at as "parked_at?",
               case when exception.status = 'SKIPPED' then 'SKIPPED' else exception.parked_reason end as "parked_reason?",
               batch.relay as "relay?", batch.epochs[array_position(batch.shards, found.shard)] as "relay_epoch?",
               headers as "headers!", payload as "payload!"
        from found
        join messaging.last_marks as last on last.consumer = 'relay' and last.shard = found.shard
        left join messaging.outbox_exceptions as exception on exception.event_id = found.event_id
        left join lateral (
            select near.*, count(*) over () as times
            from (select * from messaging.relay_batches where last_position >= found.position order by last_position limit 200) as near
            where positions @> array[found.position]
            order by confirmed_at
            limit 1
        ) as batch on true
        order by found.aggregate_version, found.event_id
        "#,
        ids,
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
        position: row.position,
        published: row.published,
        published_at: row.published_at,
        exception: row.exception,
        attempts: row.attempts,
        last_error: row.last_error,
        next_attempt_at: row.next_attempt_at,
        parked_at: row.parked_at,
        parked_reason: row.parked_reason,
        relay: row.relay,
        relay_epoch: row.relay_epoch,
        headers: row.headers,
        payload: row.payload,
        jobs: Vec::new(),
    });
    Ok(events.collect())
}
