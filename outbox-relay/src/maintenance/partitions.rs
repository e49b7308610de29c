//! Partitions of outbox and inbox: made ahead of time, dropped after the retention.

use std::time::Duration;

use chrono::TimeDelta;
use runtime::backoff::Backoff;
use runtime::database::limited;
use runtime::{Clock, Tasks};
use schedules::{Expression, Schedule};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::store;

const NAME: &str = "partition_maintenance";
/// Partitions are made a fortnight ahead, so days of failing maintenance do no harm. It runs every hour because it drops
/// a partition only when it can lock the table at once.
const HOURLY: &str = "0 * * * *";
/// The width of a partition is an eighth of the retention, within these days. That makes about a dozen partitions; more
/// would slow down every statement, because each looks into all of them (decision 0015).
const WIDTH: (i32, i32) = (1, 91);
/// How long the runs of schedules are kept.
const RUNS: TimeDelta = TimeDelta::days(90);
/// The wait before a starting relay retries to make partitions.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));

/// Makes missing partitions now, and starts the schedule, which one relay leads.
pub(crate) fn start(pool: &PgPool, retention_days: i32, name: &str, clock: &Clock, tasks: &Tasks) {
    tasks.spawn("relay partitions", prepare(pool.clone(), retention_days, tasks.clone()));
    let run = {
        let (pool, clock) = (pool.clone(), clock.clone());
        move |_due| {
            let (pool, clock) = (pool.clone(), clock.clone());
            async move { maintain(&pool, retention_days, &clock).await }
        }
    };
    let schedule = Schedule::new(NAME, Expression::constant(HOURLY), chrono_tz::UTC, run);
    schedules::start(schedule, pool, clock, name, tasks);
}

/// After a long downtime no event could be written until the schedule is due, so a starting relay does not wait for it.
async fn prepare(pool: PgPool, retention_days: i32, tasks: Tasks) {
    let mut failures = 0;
    while let Err(error) = limited(make(&pool, retention_days)).await {
        failures += 1;
        let wait = RETRY.delay(failures);
        tracing::warn!(%error, retry_in = ?wait, "could not make partitions");
        if tokio::time::timeout(wait, tasks.shutdown.cancelled()).await.is_ok() {
            return;
        }
    }
    tasks.shutdown.cancelled().await;
}

/// Repeating it is harmless: the second run finds nothing to do.
async fn maintain(pool: &PgPool, retention_days: i32, clock: &Clock) -> sqlx::Result<Value> {
    let made = limited(make(pool, retention_days)).await?;
    let mut dropped = Vec::new();
    while let Some(name) = limited(store::drop_expired_partition(pool, retention_days)).await? {
        tracing::info!(dropped = name, retention_days, "partition dropped");
        dropped.push(name);
    }
    let runs_deleted = limited(schedules::delete_runs(pool, clock.now() - RUNS)).await?;
    Ok(json!({ "made": made, "dropped": dropped, "runs_deleted": runs_deleted }))
}

async fn make(pool: &PgPool, retention_days: i32) -> sqlx::Result<i32> {
    let made = store::ensure_partitions(pool, (retention_days / 8).clamp(WIDTH.0, WIDTH.1)).await?;
    if made > 0 {
        tracing::info!(made, "partitions made");
    }
    Ok(made)
}
