//! Index entries of what is settled: a snapshot that is held open keeps them, and loops must not walk over them again and again.

use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::{PgPool, Postgres, Transaction};

use crate::eventually;
use crate::waiting::SOON;

/// Longer than some looks of a loop, and no longer than one look at everything is apart from the next.
const WHILE: Duration = Duration::from_secs(3);

/// Opens a snapshot, as `pg_dump` does.
pub async fn hold_snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>> {
    let mut snapshot = pool.begin().await?;
    sqlx::raw_sql("set transaction isolation level repeatable read; select 1").execute(&mut *snapshot).await?;
    Ok(snapshot)
}

/// Waits for three seconds in which fewer entries of these indexes are read than `most`. `indexes` is a pattern as of `like`.
pub async fn reads_little(pool: &PgPool, indexes: &str, most: i64) -> Result<()> {
    let read = async || -> Result<i64> {
        let read = "select sum(idx_tup_read)::bigint from pg_stat_user_indexes where indexrelname like $1";
        Ok(sqlx::query_scalar(read).bind(indexes).fetch_one(pool).await?)
    };
    let mut since = (Instant::now(), read().await?);
    eventually("the looks read little", SOON, async || {
        let now = (Instant::now(), read().await?);
        if now.0 - since.0 < WHILE {
            return Ok(None);
        }
        let meanwhile = now.1 - since.1;
        since = now;
        Ok((meanwhile < most).then_some(()))
    })
    .await
}
