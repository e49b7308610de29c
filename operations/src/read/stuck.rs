//! Events in the outbox and jobs in the inbox that make no progress.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::database::interval;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// The age at which a waiting event or job counts as stuck, unless the operator gives another.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is stuck.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Stuck {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// All stuck events; `events` may list fewer.
    pub events_total: i64,
    /// Oldest first. Only the first event of each order, return, document or refund: the others wait for it.
    pub events: Vec<StuckEvent>,
    /// All stuck jobs; `jobs` may list fewer.
    pub jobs_total: i64,
    /// Oldest first.
    pub jobs: Vec<StuckJob>,
}

/// An event that is not published.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StuckEvent {
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    pub occurred_at: DateTime<Utc>,
    /// `UNROUTABLE`, `TOO_LARGE`, `ATTEMPTS_SPENT`, `UNDECODABLE`: the event is parked. `BACK_OFF`: the relay will try it
    /// again. `PENDING`: it has waited too long.
    pub reason: String,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Later events that wait for this one.
    pub behind: i64,
}

/// A job that is not done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StuckJob {
    pub queue: String,
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub received_at: DateTime<Utc>,
    /// `DEAD`, `IN_DOUBT`, `LEASE_EXPIRED`. `PAUSED`: its queue is paused. `BACK_OFF`: it will be tried again. `OVERDUE`: no
    /// worker takes it.
    pub reason: String,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// Finds events and jobs that are parked, failing, or older than `older_than`; at most `limit` of each.
pub async fn stuck(pool: &PgPool, older_than: Duration, limit: i64) -> Result<Stuck, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let (events_total, events) = events(pool, older_than, limit).await?;
    let (jobs_total, jobs) = jobs(pool, older_than, limit).await?;
    Ok(Stuck { at, events_total, events, jobs_total, jobs })
}

async fn events(pool: &PgPool, older_than: Duration, limit: i64) -> sqlx::Result<(i64, Vec<StuckEvent>)> {
    // `parked_at is null or attempts > 0` matches the two partial indexes of unpublished events.
    let rows = sqlx::query!(
        r#"
        with unpublished as (
            select event_id, event_type, aggregate_type, aggregate_id, aggregate_version, occurred_at, attempts, last_error,
                   next_attempt_at, parked_at, parked_reason
            from messaging.outbox
            where published_at is null and (parked_at is null or attempts > 0) and parked_reason is distinct from 'SKIPPED'
        ), line as (
            select *, row_number() over (partition by aggregate_id order by aggregate_version) as place,
                   count(*) over (partition by aggregate_id) - 1 as behind
            from unpublished
        )
        select event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!", occurred_at as "occurred_at!",
               coalesce(parked_reason, case when next_attempt_at > clock_timestamp() then 'BACK_OFF' else 'PENDING' end) as "reason!",
               attempts as "attempts!", last_error, case when parked_at is null then next_attempt_at end as next_attempt_at,
               behind as "behind!", count(*) over () as "total!"
        from line
        where place = 1
          and (parked_at is not null or next_attempt_at > clock_timestamp() or occurred_at < clock_timestamp() - $1::interval)
        order by occurred_at, event_id
        limit $2
        "#,
        interval(older_than),
        limit,
    )
    .fetch_all(pool)
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let events = rows.into_iter().map(|row| StuckEvent {
        event_id: row.event_id,
        event_type: row.event_type,
        aggregate_type: row.aggregate_type,
        aggregate_id: row.aggregate_id,
        aggregate_version: row.aggregate_version,
        occurred_at: row.occurred_at,
        reason: row.reason,
        attempts: row.attempts,
        last_error: row.last_error,
        next_attempt_at: row.next_attempt_at,
        behind: row.behind,
    });
    Ok((total, events.collect()))
}

async fn jobs(pool: &PgPool, older_than: Duration, limit: i64) -> sqlx::Result<(i64, Vec<StuckJob>)> {
    let rows = sqlx::query!(
        r#"
        with open as (
            select job.*, case
                when status = 'dead' then 'DEAD'
                when status = 'running' then case when leased_until < clock_timestamp() then 'LEASE_EXPIRED' end
                when paused_at is not null and run_at < clock_timestamp() - $1::interval then 'PAUSED'
                when status = 'in_doubt' then 'IN_DOUBT'
                when run_at > clock_timestamp() then 'BACK_OFF'
                when run_at < clock_timestamp() - $1::interval then 'OVERDUE'
            end as reason
            from messaging.inbox as job left join messaging.queues on name = queue
            where status in ('ready', 'in_doubt') or status = 'running' or status = 'dead'
        )
        select queue as "queue!", event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               aggregate_id as "aggregate_id!", received_at as "received_at!", reason as "reason!", attempts as "attempts!",
               last_error, case when status in ('ready', 'in_doubt') then run_at end as next_attempt_at,
               count(*) over () as "total!"
        from open where reason is not null
        order by received_at, queue, event_id
        limit $2
        "#,
        interval(older_than),
        limit,
    )
    .fetch_all(pool)
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let jobs = rows.into_iter().map(|row| StuckJob {
        queue: row.queue,
        event_id: row.event_id,
        event_type: row.event_type,
        aggregate_type: row.aggregate_type,
        aggregate_id: row.aggregate_id,
        received_at: row.received_at,
        reason: row.reason,
        attempts: row.attempts,
        last_error: row.last_error,
        next_attempt_at: row.next_attempt_at,
    });
    Ok((total, jobs.collect()))
}
