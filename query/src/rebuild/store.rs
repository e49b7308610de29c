//! The statements of a rebuild.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::database::interval;
use sqlx::PgPool;
use uuid::Uuid;

use super::Lost;

/// Empties the tables of the copy and announces the run. `false` when another run is alive.
pub(super) async fn begin(read: &PgPool, run: Uuid, lease: Duration) -> sqlx::Result<bool> {
    let mut tx = read.begin().await?;
    let alive = sqlx::query_scalar!(r#"select until > clock_timestamp() as "alive!" from read.rebuild for update"#)
        .fetch_one(&mut *tx)
        .await?;
    if alive {
        return Ok(false);
    }
    sqlx::query!("select read.prepare_rebuild()").fetch_one(&mut *tx).await?;
    sqlx::query!("update read.rebuild set run = $1, until = clock_timestamp() + $2", run, interval(lease))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(true)
}

/// `false` when the lease has lapsed: since then a projector may have written to the live models only. The margin of 5 s
/// covers a projector that reads the row between our check and our commit.
pub(super) async fn extend(read: &PgPool, run: Uuid, lease: Duration) -> sqlx::Result<bool> {
    let extended = sqlx::query!(
        r#"
        update read.rebuild set until = clock_timestamp() + $1
        where run = $2 and until > clock_timestamp() + interval '5 s'
        "#,
        interval(lease),
        run,
    )
    .execute(read)
    .await?;
    Ok(extended.rows_affected() == 1)
}

/// Ends the run and empties the tables of the copy.
pub(super) async fn abandon(read: &PgPool, run: Uuid) -> sqlx::Result<()> {
    let mut tx = read.begin().await?;
    let ended = sqlx::query!("update read.rebuild set run = null, until = '-infinity' where run = $1", run)
        .execute(&mut *tx)
        .await?;
    if ended.rows_affected() == 1 {
        sqlx::query!("select read.prepare_rebuild()").fetch_one(&mut *tx).await?;
    }
    tx.commit().await
}

/// What the live models have, and the rebuilt ones lack or have in an older version only.
pub(super) async fn missing_from_rebuilt(read: &PgPool) -> sqlx::Result<Lost> {
    let mut tx = read.begin().await?;
    // Compares whole tables, once per rebuild.
    sqlx::query!("set local statement_timeout = 0").execute(&mut *tx).await?;
    sqlx::query!("select read.analyze_rebuilt()").fetch_one(&mut *tx).await?;
    let missing = sqlx::query_as!(
        Lost,
        r#"
        with live as (
            select known.version, next.version as made from read.orders as known left join read_next.orders as next using (id)
            union all
            select known.version, next.version from read.returns as known left join read_next.returns as next using (id)
            union all
            select known.version, next.version from read.invoices as known left join read_next.invoices as next using (order_id)
            union all
            select known.version, next.version
            from read.credit_notes as known left join read_next.credit_notes as next using (source_id)
            union all
            select known.version, next.version from read.refunds as known left join read_next.refunds as next using (id)
        )
        select (select count(*) from live where made is null or made < version) as "documents!",
               (select count(*) from read.history as live where not exists (
                    select from read_next.history as next
                    where (next.aggregate_type, next.aggregate_id, next.version)
                        = (live.aggregate_type, live.aggregate_id, live.version))) as "entries!"
        "#
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(missing)
}

/// How an attempt to swap ended.
pub(super) enum Swap {
    Done,
    /// A reader holds a lock on a table.
    Busy,
    Lapsed,
}

/// 55P03 `lock_not_available`, 40P01 `deadlock_detected`, 57014 `query_canceled`: the statement's time-out.
const BUSY: [&str; 3] = ["55P03", "40P01", "57014"];

pub(super) async fn swap(read: &PgPool, run: Uuid) -> sqlx::Result<Swap> {
    let mut tx = read.begin().await?;
    // Limits the wait for the locks of all tables, and so the wait of the readers behind them.
    sqlx::query!("set local statement_timeout = '2s'").execute(&mut *tx).await?;
    match sqlx::query!("select run from read.rebuild for update").fetch_one(&mut *tx).await {
        Err(error) if is_busy(&error) => return Ok(Swap::Busy),
        locked => locked.map(drop)?,
    }
    // In a statement of its own: a statement that waits for a lock has read the clock before it waits.
    let alive = sqlx::query_scalar!(
        r#"select until > clock_timestamp() and run is not distinct from $1 as "alive!" from read.rebuild"#,
        run
    )
    .fetch_one(&mut *tx)
    .await?;
    if !alive {
        return Ok(Swap::Lapsed);
    }
    if let Err(error) = sqlx::query!("select read.swap_rebuilt()").fetch_one(&mut *tx).await {
        return if is_busy(&error) { Ok(Swap::Busy) } else { Err(error) };
    }
    sqlx::query!("update read.rebuild set run = null, until = '-infinity'").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Swap::Done)
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| BUSY.contains(&&*code))
}

/// The time up to which retention has dropped the events.
pub(super) async fn dropped_until(messaging: &PgPool) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!("select dropped_until from messaging.retention").fetch_one(messaging).await
}

/// The programs that have published snapshots of all their aggregates after this time.
pub(super) async fn snapshot_sources_after(messaging: &PgPool, time: DateTime<Utc>) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("select source from messaging.snapshot_runs where started_at >= $1", time)
        .fetch_all(messaging)
        .await
}
