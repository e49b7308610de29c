//! The SQL over schedules and their runs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::database::{in_transaction, interval};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::schedule::Due;
use crate::timing::Timing;

/// Enters a schedule, or brings its settings up to date.
pub(crate) async fn register(
    pool: &PgPool,
    name: &'static str,
    timing: Timing,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    in_transaction(pool, move |conn| Box::pin(async move { registered(conn, name, &timing, now).await })).await
}

async fn registered(conn: &mut PgConnection, name: &str, timing: &Timing, now: DateTime<Utc>) -> sqlx::Result<()> {
    let (cron, timezone) = (timing.expression.as_str(), timing.timezone.name());
    sqlx::query!(
        "insert into messaging.schedules (name, cron, timezone, next_due_at) values ($1, $2, $3, $4) on conflict do nothing",
        name,
        cron,
        timezone,
        timing.next(now),
    )
    .execute(&mut *conn)
    .await?;
    let known = sqlx::query!(
        r#"
        select cron, timezone, next_due_at, last_due_at,
               exists (select from messaging.schedule_runs as run
                       where run.name = schedule.name and due_at = next_due_at and status in ('running', 'waiting')) as "open!"
        from messaging.schedules as schedule where name = $1 for update
        "#,
        name,
    )
    .fetch_one(&mut *conn)
    .await?;
    let same = known.cron == cron && known.timezone == timezone;
    let next_due_at = match (known.next_due_at, known.last_due_at) {
        (Some(_), _) if same => return Ok(()),
        // A run that has been begun is finished first.
        (Some(next_due_at), _) if known.open => Some(next_due_at),
        (Some(_), Some(last_due_at)) => timing.next(last_due_at),
        (Some(_), None) => timing.next(now),
        // It was off. What would have been due meanwhile was not wanted.
        (None, last_due_at) => timing.next(last_due_at.map_or(now, |last| last.max(now))),
    };
    sqlx::query!(
        "update messaging.schedules set cron = $2, timezone = $3, next_due_at = $4 where name = $1",
        name,
        cron,
        timezone,
        next_due_at,
    )
    .execute(conn)
    .await?;
    tracing::info!(schedule = name, cron, timezone, ?next_due_at, "schedule has other settings than before");
    Ok(())
}

/// Says that a schedule is off, if it was ever on; nobody will finish a run that is open.
pub(crate) async fn switch_off(pool: &PgPool, name: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with switched_off as (
            update messaging.schedules set next_due_at = null, lease_owner = null, leased_until = '-infinity', fence = fence + 1
            where name = $1 and next_due_at is not null
            returning name
        )
        update messaging.schedule_runs as run
        set status = 'failed', finished_at = $2, retry_at = null, error = coalesce(error || '; ', '') || 'the schedule was switched off'
        from switched_off where run.name = switched_off.name and status in ('running', 'waiting')
        "#,
        name,
        now,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Who leads, under which fence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leadership<'a> {
    pub(crate) schedule: &'static str,
    pub(crate) owner: &'a str,
    pub(crate) fence: i64,
}

/// What a leader has to know.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) fence: i64,
    pub(crate) next_due_at: DateTime<Utc>,
    /// A run for that time that has been begun.
    pub(crate) open: Option<Open>,
}

/// A run that has been begun.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) missed: i32,
    pub(crate) attempt: i32,
    /// `None` when whoever ran it has not ended it.
    pub(crate) retry_at: Option<DateTime<Utc>>,
}

/// Takes the lease or renews it; `None` when it is somebody else's, or the schedule has other settings by now.
pub(crate) async fn lead(
    pool: &PgPool,
    name: &str,
    timing: &Timing,
    owner: &str,
    lease: Duration,
) -> sqlx::Result<Option<Lead>> {
    let row = sqlx::query!(
        r#"
        with led as (
            update messaging.schedules
            set lease_owner = $4, leased_until = clock_timestamp() + $5,
                fence = fence + case when lease_owner = $4 and leased_until > clock_timestamp() then 0 else 1 end
            where name = $1 and cron = $2 and timezone = $3 and next_due_at is not null
              and (lease_owner is null or lease_owner = $4 or leased_until <= clock_timestamp())
            returning name, fence, next_due_at
        )
        select fence as "fence!", next_due_at as "next_due_at!", missed as "missed?", attempt as "attempt?", retry_at
        from led left join messaging.schedule_runs as run
            on run.name = led.name and run.due_at = led.next_due_at and run.status in ('running', 'waiting')
        "#,
        name,
        timing.expression.as_str(),
        timing.timezone.name(),
        owner,
        interval(lease),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Lead {
        fence: row.fence,
        next_due_at: row.next_due_at,
        open: row.missed.zip(row.attempt).map(|(missed, attempt)| Open { missed, attempt, retry_at: row.retry_at }),
    }))
}

/// Records that an attempt begins, unless somebody else leads. What is due next is this, until it has ended: a successor
/// goes on with the same due time, however late it is by then.
pub(crate) async fn begin(
    pool: &PgPool,
    leadership: Leadership<'_>,
    due: Due,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let begun = sqlx::query!(
        r#"
        with led as (
            update messaging.schedules set next_due_at = $4
            where name = $1 and lease_owner = $2 and fence = $3 and leased_until > clock_timestamp() and next_due_at <= $4
            returning name
        )
        insert into messaging.schedule_runs as run (name, due_at, missed, attempt, owner, started_at, status)
        select name, $4, $5, 1, $2, $6, 'running' from led
        on conflict (name, due_at) do update
        set attempt = run.attempt + 1, owner = excluded.owner, started_at = excluded.started_at, status = 'running', retry_at = null
        where run.status in ('running', 'waiting')
        "#,
        leadership.schedule,
        leadership.owner,
        leadership.fence,
        due.at,
        due.missed,
        now,
    )
    .execute(pool)
    .await?;
    Ok(begun.rows_affected() > 0)
}

/// How an attempt has ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Done(Value),
    Retry { error: String, at: DateTime<Utc> },
    Failed(String),
}

/// Records the end of an attempt, unless somebody else leads; `next` is due then, if the run is settled by it.
pub(crate) async fn end(
    pool: &PgPool,
    leadership: Leadership<'_>,
    due_at: DateTime<Utc>,
    ending: &Ending,
    now: DateTime<Utc>,
    next: Option<DateTime<Utc>>,
) -> sqlx::Result<bool> {
    let (status, result, error, retry_at) = match ending {
        Ending::Done(result) => ("done", Some(result), None, None),
        Ending::Retry { error, at } => ("waiting", None, Some(error), Some(*at)),
        Ending::Failed(error) => ("failed", None, Some(error), None),
    };
    let ended = sqlx::query!(
        r#"
        with led as (
            update messaging.schedules
            set last_due_at = case when $5 = 'waiting' then last_due_at else $4 end,
                next_due_at = case when $5 = 'waiting' then next_due_at else $10 end
            where name = $1 and lease_owner = $2 and fence = $3 and leased_until > clock_timestamp() and next_due_at = $4
            returning name
        )
        update messaging.schedule_runs as run
        set status = $5, finished_at = case when $5 <> 'waiting' then $9::timestamptz end, result = $6, error = $7, retry_at = $8
        from led where run.name = led.name and due_at = $4
        "#,
        leadership.schedule,
        leadership.owner,
        leadership.fence,
        due_at,
        status,
        result,
        error.map(String::as_str),
        retry_at,
        now,
        next,
    )
    .execute(pool)
    .await?;
    Ok(ended.rows_affected() > 0)
}

/// Gives the lease up. A run that has not ended may be begun again at once, without the attempt being counted.
pub(crate) async fn release(pool: &PgPool, name: &str, owner: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with released as (
            update messaging.schedules set lease_owner = null, leased_until = '-infinity'
            where name = $1 and lease_owner = $2
            returning name, next_due_at
        )
        update messaging.schedule_runs as run set status = 'waiting', attempt = attempt - 1, retry_at = started_at
        from released where run.name = released.name and due_at = next_due_at and status = 'running' and owner = $2
        "#,
        name,
        owner,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets runs that were due before `before`, but of each schedule the newest. Returns how many.
pub async fn sweep(pool: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let swept = sqlx::query!(
        r#"
        delete from messaging.schedule_runs as run
        where due_at < $1 and status in ('done', 'failed')
          and exists (select from messaging.schedule_runs as later where later.name = run.name and later.due_at > run.due_at)
        "#,
        before,
    )
    .execute(pool)
    .await?;
    Ok(swept.rows_affected())
}
