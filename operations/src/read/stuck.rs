//! Events in the outbox and jobs in the inbox that make no progress.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::database::interval;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::investigations::{self, Investigation};
use crate::OperationError;

/// The age at which a waiting event or job counts as stuck, unless the operator gives another.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Events that wait, and jobs of a queue that wait, that run, and that are dead, are read up to this many each.
const MOST: i64 = 10_000;

/// What is stuck.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Stuck {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// All stuck events among the first 10,000 that wait; `events` may list fewer.
    pub events_total: i64,
    /// Oldest first. Only the first event of each order, return, document or refund: the others wait for it.
    pub events: Vec<StuckEvent>,
    /// All stuck jobs among the first 10,000 of each queue that wait; `jobs` may list fewer.
    pub jobs_total: i64,
    /// Oldest first.
    pub jobs: Vec<StuckJob>,
    /// Who looks into these events, and into the events of these jobs.
    pub investigations: Vec<Investigation>,
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
    /// `DEAD`, `IN_DOUBT`, `LEASE_EXPIRED`. `PAUSED`: its queue is paused. `OUTAGE`: its queue waits for a dependency that is
    /// down. `BACK_OFF`: it will be tried again. `OVERDUE`: no worker takes it. `BLOCKED`: the earlier version for which it
    /// waits has not come to its ordered queue.
    pub reason: String,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Later events of the aggregate that wait for this one in this queue, which is ordered.
    pub behind: i64,
}

/// Finds events and jobs that are parked, failing, or older than `older_than`; at most `limit` of each.
pub async fn stuck(pool: &PgPool, older_than: Duration, limit: i64) -> Result<Stuck, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let (events_total, events) = events(pool, older_than, limit).await?;
    let (jobs_total, jobs) = jobs(pool, older_than, limit).await?;
    let event_ids = events.iter().map(|event| event.event_id).chain(jobs.iter().map(|job| job.event_id));
    let investigations = investigations::of_events(pool, &event_ids.collect::<Vec<_>>()).await?;
    Ok(Stuck { at, events_total, events, jobs_total, jobs, investigations })
}

/// Reads the events that wait, up to the limit, and all that are exceptions: a relay stops before these are too many.
async fn events(pool: &PgPool, older_than: Duration, limit: i64) -> sqlx::Result<(i64, Vec<StuckEvent>)> {
    let rows = sqlx::query!(
        r#"
        with waiting as (
            select event_id, aggregate_id, aggregate_version, status, attempts, last_error, next_attempt_at, parked_reason,
                   coalesce(next_attempt_at, created_at) as since
            from messaging.outbox_exceptions where status <> 'SKIPPED'
            union all
            (select event_id, aggregate_id, aggregate_version, 'PENDING', 0, null, null, null, occurred_at
             from messaging.pending_events order by position limit $1)
        ), line as (
            select *, row_number() over (partition by aggregate_id order by aggregate_version) as place,
                   count(*) over (partition by aggregate_id) - 1 as behind
            from waiting
        ), listed as (
            select *, count(*) over () as total
            from line
            where place = 1
              and (status = 'PARKED' or next_attempt_at > clock_timestamp() or since < clock_timestamp() - $2::interval)
            order by event_id
            limit $3
        )
        select listed.event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               listed.aggregate_id as "aggregate_id!", listed.aggregate_version as "aggregate_version!",
               occurred_at as "occurred_at!",
               coalesce(parked_reason, case when next_attempt_at > clock_timestamp() then 'BACK_OFF' else 'PENDING' end) as "reason!",
               attempts as "attempts!", last_error, next_attempt_at, behind as "behind!", total as "total!"
        from listed join messaging.outbox as event on event.event_id = listed.event_id
        order by listed.event_id
        "#,
        MOST,
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

/// Of the dead jobs of a queue the oldest are looked up, and the others only counted. In an ordered queue all are, because of those
/// behind them.
async fn jobs(pool: &PgPool, older_than: Duration, limit: i64) -> sqlx::Result<(i64, Vec<StuckJob>)> {
    let rows = sqlx::query!(
        r#"
        with open as (
            select job.*, paused_at is not null as paused, outages.since is not null as outage,
                   row_number() over line as place,
                   count(*) filter (where status = 'blocked') over (line rows between 1 following and unbounded following) as behind
            from messaging.queues
            left join messaging.outages on outages.queue = name
            cross join lateral (
                (select * from messaging.waiting_jobs as waiting where waiting.queue = name limit $2)
                union all
                (select * from messaging.running_jobs as running where running.queue = name limit $2)
                union all
                (select * from messaging.dead_jobs as dead
                 where dead.queue = name order by event_id limit case when ordered then $2 else $3 end)
                union all
                (select * from messaging.blocked_jobs as blocked where blocked.queue = name limit $2)
            ) as job
            window line as (partition by job.queue, aggregate_id order by aggregate_version)
        ), judged as (
            select *, case
                when status = 'dead' then 'DEAD'
                when status = 'running' then case when leased_until < clock_timestamp() then 'LEASE_EXPIRED' end
                when status = 'blocked'
                    then case when place = 1 and received_at < clock_timestamp() - $1::interval then 'BLOCKED' end
                when paused and run_at < clock_timestamp() - $1::interval then 'PAUSED'
                when outage and run_at < clock_timestamp() - $1::interval then 'OUTAGE'
                when status = 'in_doubt' then 'IN_DOUBT'
                when run_at > clock_timestamp() then 'BACK_OFF'
                when run_at < clock_timestamp() - $1::interval then 'OVERDUE'
            end as reason
            from open
        ), listed as (
            select *, count(*) over () as total from judged where reason is not null order by received_at, queue, event_id limit $3
        ), others as (
            select coalesce(sum(greatest(dead - $3, 0)), 0)::bigint as dead
            from messaging.queues
            cross join lateral (select count(*) as dead from (select from messaging.dead_letters where queue = name limit $2) as letter) as counted
            where not ordered
        )
        select queue as "queue!", listed.event_id as "event_id!", coalesce(event_type, '') as "event_type!",
               coalesce(aggregate_type, '') as "aggregate_type!", listed.aggregate_id as "aggregate_id!",
               received_at as "received_at!", reason as "reason!", attempts as "attempts!", last_error,
               case when status in ('ready', 'in_doubt') then run_at end as next_attempt_at, behind as "behind!",
               total + others.dead as "total!"
        from listed cross join others left join messaging.outbox as event on event.event_id = listed.event_id
        order by received_at, queue, listed.event_id
        "#,
        interval(older_than),
        MOST,
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
        behind: row.behind,
    });
    Ok((total, jobs.collect()))
}
