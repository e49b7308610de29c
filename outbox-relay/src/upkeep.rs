//! Partitions made ahead of time and dropped after the retention, and gauges for operators.

use std::time::Duration;

use chrono::TimeDelta;
use runtime::database::limited;
use runtime::{Clock, Tasks};
use schedules::{Expression, Schedule};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::store;

const NAME: &str = "partition_maintenance";
/// Partitions are made a fortnight ahead, so even days of failing upkeep harm nothing. Every hour, because one is only
/// dropped when its table can be locked at once.
const HOURLY: &str = "0 * * * *";
/// A partition is an eighth of the retention wide, within these days: so that there are about a dozen, because every statement
/// looks into each (decision 0015).
const WIDTH: (i32, i32) = (1, 91);
const GAUGES: Duration = Duration::from_secs(5);
/// How long the runs of schedules are kept.
const RUNS: TimeDelta = TimeDelta::days(90);

/// Starts the schedule of this relay, or of another that leads it, and the gauges that every relay has.
pub(crate) fn start(pool: &PgPool, retention_days: i32, name: &str, clock: &Clock, tasks: &Tasks) {
    let run = {
        let (pool, clock) = (pool.clone(), clock.clone());
        move |_due| {
            let (pool, clock) = (pool.clone(), clock.clone());
            async move { keep(&pool, retention_days, &clock).await }
        }
    };
    let schedule = Schedule::new(NAME, Expression::constant(HOURLY), chrono_tz::UTC, run);
    schedules::start(schedule, pool, clock, name, tasks);
    tasks.spawn("relay upkeep", measure(pool.clone(), retention_days, tasks.clone()));
}

/// Refreshes the gauges. At first it makes the partitions that are missing: after a long rest of everything no event could
/// be written until the schedule is due.
async fn measure(pool: PgPool, retention_days: i32, tasks: Tasks) {
    let mut gauges = tokio::time::interval(GAUGES);
    let mut prepared = false;
    loop {
        tokio::select! {
            () = tasks.shutdown.cancelled() => return,
            _ = gauges.tick() => {}
        }
        let turn = async {
            if !prepared {
                make_partitions(&pool, retention_days).await?;
                prepared = true;
            }
            refresh_gauges(&pool).await
        };
        if let Err(error) = limited(turn).await {
            tracing::warn!(%error, "upkeep failed; trying again at its next turn");
        }
    }
}

/// Whoever repeats it finds nothing left to do.
async fn keep(pool: &PgPool, retention_days: i32, clock: &Clock) -> sqlx::Result<Value> {
    let made = limited(make_partitions(pool, retention_days)).await?;
    let mut dropped = Vec::new();
    while let Some(name) = limited(store::drop_expired_partition(pool, retention_days)).await? {
        tracing::info!(dropped = name, retention_days, "partition dropped");
        dropped.push(name);
    }
    let forgotten = limited(schedules::delete_runs(pool, clock.now() - RUNS)).await?;
    Ok(json!({ "made": made, "dropped": dropped, "runs_forgotten": forgotten }))
}

async fn make_partitions(pool: &PgPool, retention_days: i32) -> sqlx::Result<i32> {
    let made = store::ensure_partitions(pool, (retention_days / 8).clamp(WIDTH.0, WIDTH.1)).await?;
    if made > 0 {
        tracing::info!(made, "partitions made");
    }
    Ok(made)
}

#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^53")]
async fn refresh_gauges(pool: &PgPool) -> sqlx::Result<()> {
    let backlog = store::outbox_backlog(pool).await?;
    metrics::gauge!("outbox_pending_rows").set(backlog.pending as f64);
    metrics::gauge!("outbox_parked_rows").set(backlog.parked as f64);
    metrics::gauge!("outbox_oldest_pending_seconds").set(age(backlog.oldest_pending));
    for queue in store::queue_backlogs(pool).await? {
        let jobs =
            [("ready", queue.ready), ("running", queue.running), ("in_doubt", queue.in_doubt), ("dead", queue.dead)];
        for (status, count) in jobs {
            metrics::gauge!("inbox_rows", "queue" => queue.name.clone(), "status" => status).set(count as f64);
        }
        metrics::gauge!("inbox_oldest_ready_seconds", "queue" => queue.name).set(age(queue.oldest_ready));
    }
    Ok(())
}

fn age(since: Option<chrono::DateTime<chrono::Utc>>) -> f64 {
    since.map_or(0.0, |since| (runtime::Clock::system().now() - since).as_seconds_f64().max(0.0))
}
