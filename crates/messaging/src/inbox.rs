//! The inbox: one row per (queue, event). Its primary key is the dedupe memory, its status the job.
//!
//! Two ways to consume it. A *batch* consumer (the projector) takes rows, applies them and finishes them in one
//! transaction. A *job* consumer (invoices, refunds, notifications) claims a row for a time, works outside any
//! transaction, and completes the row in the transaction that writes the effect; see [`crate::worker`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{EntityType, Envelope, EventType, Headers, Queue, SCHEMA_VERSION};
use runtime::database::interval;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// The channel on which the consumers of a queue listen for hints.
pub fn channel(queue: Queue) -> String {
    format!("inbox_{queue}")
}

/// One row, taken or claimed.
#[derive(Debug)]
pub struct Job {
    pub queue: Queue,
    pub event_id: Uuid,
    pub event_type: String,
    /// As stored; a consumer buries what it cannot name.
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    /// A `StateChanged<T>` as JSON text.
    pub payload: Box<RawValue>,
    pub headers: Headers,
    /// Why nobody can consume this row, if nobody can: it must be buried, never tried again.
    pub poison: Option<String>,
    pub occurred_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    /// Attempts begun, this one included; 1 is the first.
    pub attempts: i32,
    /// An earlier attempt may have had its effect: look it up before trying again.
    pub in_doubt: bool,
    /// Grows with every claim; a completion under an older fence is refused.
    pub fence: i64,
}

impl Job {
    /// The event's type, if this version knows it.
    pub fn event_type(&self) -> Option<EventType> {
        self.event_type.parse().ok()
    }

    /// The aggregate's type, if this version knows it.
    pub fn aggregate_type(&self) -> Option<EntityType> {
        EntityType::parse(&self.aggregate_type)
    }
}

/// A row as the queries below return it, and that of the log.
pub(crate) struct Row {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_version: i32,
    pub(crate) payload: Json<Box<RawValue>>,
    pub(crate) headers: Json<Box<RawValue>>,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) received_at: DateTime<Utc>,
    pub(crate) attempts: i32,
    pub(crate) in_doubt: bool,
    pub(crate) fence: i64,
}

impl Row {
    /// One row that cannot be decoded must not fail the claim of the others.
    pub(crate) fn into_job(self, queue: Queue) -> Job {
        let (headers, poison) = match serde_json::from_str::<Headers>(self.headers.get()) {
            Ok(headers) if headers.schema_is_known() => (headers, None),
            Ok(headers) => {
                let version = headers.schema_version.unwrap_or_default();
                let reason =
                    format!("schema version {version} is unknown to this release, which reads {SCHEMA_VERSION}");
                (headers, Some(reason))
            }
            Err(error) => (Headers::default(), Some(format!("undecodable headers: {error}"))),
        };
        Job {
            queue,
            event_id: self.event_id,
            event_type: self.event_type,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            aggregate_version: self.aggregate_version,
            payload: self.payload.0,
            headers,
            poison,
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            attempts: self.attempts,
            in_doubt: self.in_doubt,
            fence: self.fence,
        }
    }
}

/// Puts events into a queue; those it has seen before are left alone. Returns how many were new.
pub async fn insert(executor: impl PgExecutor<'_>, queue: Queue, events: &[Envelope]) -> sqlx::Result<u64> {
    let mut columns = Columns::default();
    for event in events {
        columns.push(event);
    }
    let inserted = sqlx::query!(
        r#"
        insert into messaging.inbox
            (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at)
        select $1, event.*
        from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::int[], $7::jsonb[], $8::jsonb[], $9::timestamptz[])
            as event
        on conflict do nothing
        "#,
        queue.as_str(),
        &columns.event_id,
        &columns.event_type,
        &columns.aggregate_type,
        &columns.aggregate_id,
        &columns.aggregate_version,
        &columns.payload as _,
        &columns.headers as _,
        &columns.occurred_at,
    )
    .execute(executor)
    .await?;
    Ok(inserted.rows_affected())
}

#[derive(Default)]
struct Columns<'a> {
    event_id: Vec<Uuid>,
    event_type: Vec<String>,
    aggregate_type: Vec<String>,
    aggregate_id: Vec<Uuid>,
    aggregate_version: Vec<i32>,
    payload: Vec<Json<&'a RawValue>>,
    headers: Vec<Json<&'a Headers>>,
    occurred_at: Vec<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, event: &'a Envelope) {
        self.event_id.push(event.event_id);
        self.event_type.push(event.event_type.clone());
        self.aggregate_type.push(event.aggregate_type.as_str().to_owned());
        self.aggregate_id.push(event.aggregate_id);
        self.aggregate_version.push(event.aggregate_version);
        self.payload.push(Json(&event.payload));
        self.headers.push(Json(&event.headers));
        self.occurred_at.push(event.occurred_at);
    }
}

/// Locks up to `limit` ready rows of a queue for the caller's transaction; none while the queue is paused.
/// Rows that another consumer holds are passed over.
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

/// Marks a row as dead: it cannot be consumed (undecodable, unknown type) and must not be tried for ever.
pub async fn bury(conn: &mut PgConnection, queue: Queue, event_id: Uuid, reason: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'dead', attempts = attempts + 1, finished_at = clock_timestamp(), last_error = $3,
            lease_owner = null, leased_until = null
        where queue = $1 and event_id = $2
        "#,
        queue.as_str(),
        event_id,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Claims up to `limit` rows for `owner`; none while the queue is paused. The lease runs on the database's clock.
pub async fn claim(
    executor: impl PgExecutor<'_>,
    queue: Queue,
    owner: &str,
    limit: i64,
    lease: Duration,
) -> sqlx::Result<Vec<Job>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        with picked as materialized (
            select event_id, status
            from messaging.inbox
            where queue = $1 and status in ('ready', 'in_doubt') and run_at <= clock_timestamp()
              and not exists (select from messaging.queues where name = $1 and paused_at is not null)
            order by run_at
            limit $2
            for update skip locked
        )
        update messaging.inbox as job
        set status = 'running', attempts = attempts + 1, fence = fence + 1, lease_owner = $3,
            leased_until = clock_timestamp() + $4, started_at = clock_timestamp()
        from picked
        where job.queue = $1 and job.event_id = picked.event_id
        returning job.event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
                  payload as "payload: Json<Box<RawValue>>", headers as "headers: Json<Box<RawValue>>",
                  occurred_at, received_at, attempts, picked.status = 'in_doubt' as "in_doubt!", fence
        "#,
        queue.as_str(),
        limit,
        owner,
        interval(lease),
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_job(queue)).collect())
}

/// Prolongs a lease. `false` when it is no longer ours.
pub async fn extend_lease(executor: impl PgExecutor<'_>, job: &Job, lease: Duration) -> sqlx::Result<bool> {
    let extended = sqlx::query!(
        r#"
        update messaging.inbox set leased_until = clock_timestamp() + $4
        where queue = $1 and event_id = $2 and fence = $3 and status = 'running'
        "#,
        job.queue.as_str(),
        job.event_id,
        job.fence,
        interval(lease),
    )
    .execute(executor)
    .await?;
    Ok(extended.rows_affected() == 1)
}

/// Marks a claimed row as done, in the transaction that writes its effect. `false` when the lease was lost:
/// then the caller must roll back.
pub async fn complete(conn: &mut PgConnection, job: &Job, result: &serde_json::Value) -> sqlx::Result<bool> {
    let completed = sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'done', finished_at = clock_timestamp(), result = $4, last_error = null,
            lease_owner = null, leased_until = null
        where queue = $1 and event_id = $2 and fence = $3 and status = 'running'
        "#,
        job.queue.as_str(),
        job.event_id,
        job.fence,
        result,
    )
    .execute(conn)
    .await?;
    Ok(completed.rows_affected() == 1)
}

/// Where a claimed row goes that was not completed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Again, after this wait.
    Retry(Duration),
    /// Again after this wait, but looked up first.
    LookUp(Duration),
    /// Never again, unless an operator says so.
    Dead,
}

/// Ends a claim that did not complete. `false` when the lease was lost.
pub async fn fail(conn: &mut PgConnection, job: &Job, error: &str, next: Next) -> sqlx::Result<bool> {
    let (status, delay) = match next {
        Next::Retry(delay) => ("ready", delay),
        Next::LookUp(delay) => ("in_doubt", delay),
        Next::Dead => ("dead", Duration::ZERO),
    };
    let failed = sqlx::query!(
        r#"
        update messaging.inbox
        set status = $4, last_error = $5, run_at = clock_timestamp() + $6,
            finished_at = case when $4 = 'dead' then clock_timestamp() end,
            lease_owner = null, leased_until = null
        where queue = $1 and event_id = $2 and fence = $3 and status = 'running'
        "#,
        job.queue.as_str(),
        job.event_id,
        job.fence,
        status,
        error,
        interval(delay),
    )
    .execute(conn)
    .await?;
    Ok(failed.rows_affected() == 1)
}

/// Makes rows of workers that died ready again. The attempt they had begun counts.
///
/// They come back as `in_doubt`: nobody knows how far the dead worker got.
pub async fn reclaim_expired(executor: impl PgExecutor<'_>, queue: Queue) -> sqlx::Result<u64> {
    let reclaimed = sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'in_doubt', run_at = clock_timestamp(), lease_owner = null, leased_until = null,
            last_error = 'the worker ' || lease_owner || ' let its lease expire'
        where queue = $1 and status = 'running' and leased_until < clock_timestamp()
        "#,
        queue.as_str(),
    )
    .execute(executor)
    .await?;
    Ok(reclaimed.rows_affected())
}

/// Gives the rows that `owner` still has back to the queue, at the end of its process. The attempt does not count:
/// nothing went wrong with the job. They come back as `in_doubt`, because the effect may have happened.
pub async fn release(executor: impl PgExecutor<'_>, queue: Queue, owner: &str) -> sqlx::Result<u64> {
    let released = sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'in_doubt', run_at = clock_timestamp(), attempts = attempts - 1, lease_owner = null,
            leased_until = null, last_error = 'the worker ' || lease_owner || ' was stopped'
        where queue = $1 and status = 'running' and lease_owner = $2
        "#,
        queue.as_str(),
        owner,
    )
    .execute(executor)
    .await?;
    Ok(released.rows_affected())
}
