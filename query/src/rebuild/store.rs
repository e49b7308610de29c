//! The statements of a rebuild.

use std::time::Duration;

use chrono::NaiveDate;
use runtime::database::interval;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// `for key share` sees the newest version of the row, and holds off whoever begins or ends a rebuild; the heart-beat of
/// the one under way it does not.
pub(super) async fn is_under_way(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select until > clock_timestamp() as "alive!" from read.rebuild for key share"#)
        .fetch_one(conn)
        .await
}

/// Empties the tables and announces the run. `false` when another one is alive.
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

/// `false` when the run has not been alive all the time: some projector may have written to the live models alone. The
/// margin is for those who look at the row between our looking and our commit.
pub(super) async fn extend(read: &PgPool, run: Uuid, lease: Duration) -> sqlx::Result<bool> {
    let extended = sqlx::query!(
        r#"
        update read.rebuild set until = clock_timestamp() + $2
        where run = $1 and until > clock_timestamp() + interval '5 s'
        "#,
        run,
        interval(lease)
    )
    .execute(read)
    .await?;
    Ok(extended.rows_affected() == 1)
}

/// Gives up, and leaves nothing behind.
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

/// What the live models have and the rebuilt ones have not, or only older.
pub(super) struct Lacking {
    pub(super) documents: i64,
    pub(super) entries: i64,
}

pub(super) async fn lacking(read: &PgPool) -> sqlx::Result<Lacking> {
    let mut tx = read.begin().await?;
    // Whole tables are compared, once.
    sqlx::query!("set local statement_timeout = 0").execute(&mut *tx).await?;
    sqlx::query!("select read.analyze_rebuilt()").fetch_one(&mut *tx).await?;
    let lacking = sqlx::query_as!(
        Lacking,
        r#"
        with live as (
            select known.version, next.version as made from read.orders as known left join read_next.orders as next using (id)
            union all
            select known.version, next.version from read.returns as known left join read_next.returns as next using (id)
            union all
            select known.version, next.version from read.invoices as known left join read_next.invoices as next using (order_id)
            union all
            select known.version, next.version
            from read.credit_notes as known left join read_next.credit_notes as next using (return_id)
            union all
            select known.version, next.version from read.refunds as known left join read_next.refunds as next using (return_id)
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
    Ok(lacking)
}

/// How an attempt to change places ended.
pub(super) enum Swap {
    Done,
    /// Somebody reads the tables.
    Busy,
    Lapsed,
}

/// 55P03 `lock_not_available`, 40P01 `deadlock_detected`, 57014 `query_canceled`: the statement's time-out.
const BUSY: [&str; 3] = ["55P03", "40P01", "57014"];

pub(super) async fn swap(read: &PgPool, run: Uuid) -> sqlx::Result<Swap> {
    let mut tx = read.begin().await?;
    // All the tables together, and whoever has to wait for them.
    sqlx::query!("set local statement_timeout = '2s'").execute(&mut *tx).await?;
    match sqlx::query!("select run from read.rebuild for update").fetch_one(&mut *tx).await {
        Err(error) if is_busy(&error) => return Ok(Swap::Busy),
        locked => locked.map(drop)?,
    }
    // In a statement of its own: one that waits for the lock has looked at the clock before.
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

pub(super) async fn dropped_through(messaging: &PgPool) -> sqlx::Result<Option<NaiveDate>> {
    sqlx::query_scalar!("select dropped_through from messaging.retention").fetch_one(messaging).await
}

/// Who has told of all aggregates in events of a later day.
pub(super) async fn told_after(messaging: &PgPool, day: NaiveDate) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "select source from messaging.snapshot_runs where (started_at at time zone 'UTC')::date > $1",
        day
    )
    .fetch_all(messaging)
    .await
}
