//! The SQL over schedules and their runs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::database::{in_transaction, interval};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};

use crate::schedule::Due;
use crate::timing::Timing;

/// Inserts a schedule, or updates its settings.
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
    let known = locked(conn, name).await?.ok_or(sqlx::Error::RowNotFound)?;
    let same = known.cron == cron && known.timezone == timezone;
    let next_due_at = match (known.next_due_at, known.last_due_at) {
        (Some(_), _) if same => return Ok(()),
        // A run that has been started is finished first.
        (Some(next_due_at), _) if known.is_open => Some(next_due_at),
        (Some(_), Some(last_due_at)) => timing.next(last_due_at),
        (Some(_), None) => timing.next(now),
        // It was off. Due times while it was off are not caught up.
        (None, last_due_at) => timing.next(last_due_at.map_or(now, |last| last.max(now))),
    };
    sqlx::query!(
        "update messaging.schedules set cron = $1, timezone = $2, next_due_at = $3 where name = $4",
        cron,
        timezone,
        next_due_at,
        name,
    )
    .execute(conn)
    .await?;
    tracing::info!(schedule = name, cron, timezone, ?next_due_at, "settings of the schedule changed");
    Ok(())
}

/// The settings and due times of a schedule.
struct Known {
    cron: String,
    timezone: String,
    next_due_at: Option<DateTime<Utc>>,
    last_due_at: Option<DateTime<Utc>>,
    /// The run for the next due time has been started and not settled.
    is_open: bool,
}

/// Reads a schedule, and keeps others from changing it until the transaction ends.
async fn locked(conn: &mut PgConnection, name: &str) -> sqlx::Result<Option<Known>> {
    sqlx::query_as!(
        Known,
        r#"
        select cron, timezone, next_due_at, last_due_at,
               exists (select from messaging.schedule_runs as run
                       where run.name = schedule.name and due_at = next_due_at and status in ('running', 'waiting')) as "is_open!"
        from messaging.schedules as schedule where name = $1 for update
        "#,
        name,
    )
    .fetch_optional(conn)
    .await
}

/// Records that a schedule is off, if it was ever on. An open run fails, because no instance will finish it.
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

/// Which instance leads a schedule, under which fence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leadership<'a> {
    pub(crate) schedule: &'static str,
    pub(crate) owner: &'a str,
    pub(crate) fence: i64,
}

/// What a leader needs to know.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) fence: i64,
    pub(crate) next_due_at: DateTime<Utc>,
    /// The run for that time, if it has been started.
    pub(crate) open: Option<Open>,
}

/// A run that has been started and not settled.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) missed: i32,
    pub(crate) attempt: i32,
    /// `None` when the instance that ran it has not recorded an end.
    pub(crate) retry_at: Option<DateTime<Utc>>,
}

/// Takes the lease or renews it. `None` when another instance holds it, or has registered other settings.
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
            set lease_owner = $1, leased_until = clock_timestamp() + $2,
                fence = fence + case when lease_owner = $1 and leased_until > clock_timestamp() then 0 else 1 end
            where name = $3 and cron = $4 and timezone = $5 and next_due_at is not null
              and (lease_owner is null or lease_owner = $1 or leased_until <= clock_timestamp())
            returning name, fence, next_due_at
        )
        select fence as "fence!", next_due_at as "next_due_at!", missed as "missed?", attempt as "attempt?", retry_at
        from led left join messaging.schedule_runs as run
            on run.name = led.name and run.due_at = led.next_due_at and run.status in ('running', 'waiting')
        "#,
        owner,
        interval(lease),
        name,
        timing.expression.as_str(),
        timing.timezone.name(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Lead {
        fence: row.fence,
        next_due_at: row.next_due_at,
        open: row.missed.zip(row.attempt).map(|(missed, attempt)| Open { missed, attempt, retry_at: row.retry_at }),
    }))
}

/// Records that an attempt starts, unless another instance leads. This due time stays the next one until the run has
/// ended: a successor continues with it, however late it is by then.
pub(crate) async fn start(
    pool: &PgPool,
    leadership: Leadership<'_>,
    due: Due,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let started = sqlx::query!(
        r#"
        with led as (
            update messaging.schedules set next_due_at = $1
            where name = $2 and lease_owner = $3 and fence = $4 and leased_until > clock_timestamp() and next_due_at <= $1
            returning name
        )
        insert into messaging.schedule_runs as run (name, due_at, missed, attempt, owner, started_at, status)
        select name, $1, $5, 1, $3, $6, 'running' from led
        on conflict (name, due_at) do update
        set attempt = run.attempt + 1, owner = excluded.owner, started_at = excluded.started_at, status = 'running', retry_at = null
        where run.status in ('running', 'waiting')
        "#,
        due.at,
        leadership.schedule,
        leadership.owner,
        leadership.fence,
        due.missed,
        now,
    )
    .execute(pool)
    .await?;
    Ok(started.rows_affected() > 0)
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Done(Value),
    Retry { error: String, at: DateTime<Utc> },
    Failed(String),
}

/// Records the end of an attempt, unless another instance leads. If it settles the run, `next` is the next due time.
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
            set last_due_at = case when $1 = 'waiting' then last_due_at else $2 end,
                next_due_at = case when $1 = 'waiting' then next_due_at else $3 end
            where name = $4 and lease_owner = $5 and fence = $6 and leased_until > clock_timestamp() and next_due_at = $2
            returning name
        )
        update messaging.schedule_runs as run
        set status = $1, finished_at = case when $1 <> 'waiting' then $7::timestamptz end, result = $8, error = $9, retry_at = $10
        from led where run.name = led.name and due_at = $2
        "#,
        status,
        due_at,
        next,
        leadership.schedule,
        leadership.owner,
        leadership.fence,
        now,
        result,
        error.map(String::as_str),
        retry_at,
    )
    .execute(pool)
    .await?;
    Ok(ended.rows_affected() > 0)
}

/// Gives up the lease. A run that has not ended may start again at once, and its attempt does not count.
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

/// What came of asking a schedule to run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is due now, and its leader looks every 1.5 s.
    DueAt(DateTime<Utc>),
    Unknown,
    SwitchedOff,
    /// Its last run has not ended.
    Open,
    /// It is due already, and waits for a leader.
    Due,
}

/// Moves the next due time of a schedule up, to now. After that run the times are those of its expression again.
pub async fn ask(conn: &mut PgConnection, name: &str, now: DateTime<Utc>) -> sqlx::Result<Asked> {
    let Some(schedule) = locked(conn, name).await? else { return Ok(Asked::Unknown) };
    let Some(next_due_at) = schedule.next_due_at else { return Ok(Asked::SwitchedOff) };
    if schedule.is_open {
        return Ok(Asked::Open);
    }
    if next_due_at <= now || schedule.last_due_at.is_some_and(|last| last >= now) {
        return Ok(Asked::Due);
    }
    let moved = sqlx::query_scalar!(
        r#"update messaging.schedules set next_due_at = $1 where name = $2 returning next_due_at as "at!""#,
        now,
        name,
    );
    Ok(Asked::DueAt(moved.fetch_one(conn).await?))
}

/// Deletes runs that were due before `before`, except the newest of each schedule. Returns how many.
pub async fn delete_runs(pool: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let deleted = sqlx::query!(
        r#"
        delete from messaging.schedule_runs as run
        where due_at < $1 and status in ('done', 'failed')
          and exists (select from messaging.schedule_runs as later where later.name = run.name and later.due_at > run.due_at)
        "#,
        before,
    )
    .execute(pool)
    .await?;
    Ok(deleted.rows_affected())
}
