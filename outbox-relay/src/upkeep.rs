//! Partitions made ahead of time and dropped after the retention, and gauges for operators.

use std::time::Duration;

use runtime::Tasks;
use runtime::database::limited;
use sqlx::PgPool;

use crate::operations::queues;
use crate::store;

/// Partitions are made a fortnight ahead, so even days of failing upkeep harm nothing.
const PARTITIONS: Duration = Duration::from_secs(3_600);
const GAUGES: Duration = Duration::from_secs(5);

pub(crate) async fn run(pool: PgPool, retention_days: i32, tasks: Tasks) {
    let mut partitions = tokio::time::interval(PARTITIONS);
    let mut gauges = tokio::time::interval(GAUGES);
    loop {
        let done = tokio::select! {
            () = tasks.shutdown.cancelled() => return,
            _ = partitions.tick() => limited(keep_partitions(&pool, retention_days)).await,
            _ = gauges.tick() => limited(refresh_gauges(&pool)).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "upkeep failed; trying again at its next turn");
        }
    }
}

async fn keep_partitions(pool: &PgPool, retention_days: i32) -> sqlx::Result<()> {
    let made = store::ensure_partitions(pool).await?;
    if made > 0 {
        tracing::info!(made, "partitions made");
    }
    while let Some(dropped) = store::drop_expired_partition(pool, retention_days).await? {
        tracing::info!(dropped, retention_days, "partition dropped");
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^53")]
async fn refresh_gauges(pool: &PgPool) -> sqlx::Result<()> {
    let backlog = store::backlog(pool).await?;
    metrics::gauge!("outbox_pending_rows").set(backlog.pending as f64);
    metrics::gauge!("outbox_parked_rows").set(backlog.parked as f64);
    metrics::gauge!("outbox_oldest_pending_seconds").set(age(backlog.oldest));
    for queue in queues::list(pool).await? {
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
