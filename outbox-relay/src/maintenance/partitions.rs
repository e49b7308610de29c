//! Partitions of the log, the inbox and their bookkeeping: made ahead of time, dropped after the retention.
//!
//! A partition is detached with `concurrently`, which blocks no other statement, and then dropped. In between it is
//! looked at once more, because an operator may have replayed something in it: then it is attached again.

use std::time::Duration;

use chrono::TimeDelta;
use messaging::RetentionConfig;
use runtime::backoff::Backoff;
use runtime::config::DatabaseConfig;
use runtime::database::{self, limited};
use runtime::{Clock, Tasks};
use schedules::{Expression, Schedule};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use crate::store::arrivals;
use crate::store::partitions::{self as store, Partition};

const NAME: &str = "partition_maintenance";
/// The role that owns the partitioned tables.
const ROLE: &str = "articurated_maintenance";
/// Partitions of a day and more are made a fortnight ahead, so days of failing maintenance do no harm.
const HOURLY: &str = "0 * * * *";
/// Narrower ones, for tests of years in hours, are made and dropped all the time.
const EVERY_MINUTE: &str = "* * * * *";
/// How long the runs of schedules are kept.
const RUNS: TimeDelta = TimeDelta::days(90);
/// How long the record of what RabbitMQ lost is kept.
const LOSSES: Duration = Duration::from_secs(90 * 86_400);
/// The wait before a starting relay retries to make partitions.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));

/// Makes missing partitions now, and starts the schedule, which one relay leads.
pub(crate) fn start(
    pool: &PgPool,
    config: &DatabaseConfig,
    retention: RetentionConfig,
    name: &str,
    clock: &Clock,
    tasks: &Tasks,
) {
    tasks.spawn("relay partitions", prepare(pool.clone(), retention, tasks.clone()));
    let run = {
        let (pool, config, clock) = (pool.clone(), config.clone(), clock.clone());
        move |_due| {
            let (pool, config, clock) = (pool.clone(), config.clone(), clock.clone());
            async move { maintain(&pool, &config, retention, &clock).await }
        }
    };
    let often = if retention.width() < Duration::from_secs(86_400) { EVERY_MINUTE } else { HOURLY };
    let schedule = Schedule::new(NAME, Expression::constant(often), chrono_tz::UTC, run);
    schedules::start(schedule, pool, clock, name, tasks);
}

/// After a long downtime no event could be written until the schedule is due, so a starting relay does not wait for it.
async fn prepare(pool: PgPool, retention: RetentionConfig, tasks: Tasks) {
    let mut failures = 0;
    while let Err(error) = limited(make(&pool, retention)).await {
        failures += 1;
        let wait = RETRY.delay(failures);
        tracing::warn!(%error, retry_in = ?wait, "could not make partitions");
        if tokio::time::timeout(wait, tasks.shutdown.cancelled()).await.is_ok() {
            return;
        }
    }
    tasks.shutdown.cancelled().await;
}

/// Repeating it is harmless: the second run finds nothing to do, or ends what the first has started.
async fn maintain(
    pool: &PgPool,
    config: &DatabaseConfig,
    retention: RetentionConfig,
    clock: &Clock,
) -> anyhow::Result<Value> {
    let made = limited(make(pool, retention)).await?;
    let mut maintenance = database::connection(config, ROLE, "relay maintenance").await?;
    let dropped = drop_expired(&mut maintenance, retention).await?;
    limited(store::delete_old_marks(pool)).await?;
    limited(arrivals::delete_losses(pool, LOSSES)).await?;
    let runs_deleted = limited(schedules::delete_runs(pool, clock.now() - RUNS)).await?;
    Ok(json!({ "made": made, "dropped": dropped, "runs_deleted": runs_deleted }))
}

async fn make(pool: &PgPool, retention: RetentionConfig) -> sqlx::Result<i32> {
    let made = store::ensure_partitions(pool, retention.ahead(), retention.width()).await?;
    if made > 0 {
        tracing::info!(made, "partitions made");
    }
    Ok(made)
}

/// Drops the partitions whose time is older than the retention and in which everything is settled. Returns their names.
async fn drop_expired(conn: &mut PgConnection, retention: RetentionConfig) -> sqlx::Result<Vec<String>> {
    store::wait_without_limit(conn).await?;
    let mut dropped = Vec::new();
    for partition in store::half_detached(conn).await? {
        store::finalize(conn, &partition).await?;
    }
    for partition in store::detached(conn).await? {
        if let Some(name) = drop_detached(conn, partition).await? {
            dropped.push(name);
        }
    }
    for partition in store::expired(conn, retention.keep).await? {
        if store::unsettled(conn, &partition).await?.is_some() {
            continue;
        }
        store::detach(conn, &partition).await?;
        if let Some(name) = drop_detached(conn, partition).await? {
            dropped.push(name);
        }
    }
    Ok(dropped)
}

/// Drops a detached partition, or attaches it again when something in it has become unsettled.
async fn drop_detached(conn: &mut PgConnection, partition: Partition) -> sqlx::Result<Option<String>> {
    if let Some(why) = store::unsettled(conn, &partition).await? {
        tracing::warn!(partition = partition.name, why, "partition attached again");
        store::attach(conn, &partition).await?;
        return Ok(None);
    }
    store::drop_table(conn, &partition).await?;
    tracing::info!(partition = partition.name, "partition dropped");
    Ok(Some(partition.name))
}
