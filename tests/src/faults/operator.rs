//! What an operator does during a run, and asks at its end.

use anyhow::Result;
use sqlx::PgPool;

/// Sends parked rows again.
pub(super) async fn replay_parked(pool: &PgPool) -> Result<u64> {
    replay(pool, "parked_at is not null").await
}

/// Sends rows again that have been published, so that they arrive twice.
pub(super) async fn replay_published(pool: &PgPool, rows: u32) -> Result<u64> {
    let which = format!(
        "event_id in (select event_id from messaging.outbox where published_at is not null order by random() limit {rows})"
    );
    replay(pool, &which).await
}

async fn replay(pool: &PgPool, which: &str) -> Result<u64> {
    let statement = format!(
        "update messaging.outbox set published_at = null, parked_at = null, parked_reason = null, attempts = 0,
             next_attempt_at = null, position = default where {which}"
    );
    Ok(sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await?.rows_affected())
}

/// Tries dead jobs again.
pub(super) async fn retry_dead(pool: &PgPool) -> Result<u64> {
    let retried = sqlx::query(
        "update messaging.inbox set status = 'in_doubt', attempts = 0, finished_at = null, run_at = clock_timestamp()
         where status = 'dead'",
    );
    Ok(retried.execute(pool).await?.rows_affected())
}

/// How many rows are shown as stuck.
pub(super) async fn stuck(pool: &PgPool) -> Result<i64> {
    let stuck = "select count(*) from messaging.outbox where published_at is null and (parked_at is not null or attempts > 0)";
    Ok(sqlx::query_scalar(stuck).fetch_one(pool).await?)
}
