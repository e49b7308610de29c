//! Gauges of outbox and inbox, for operators. Every relay has them.

use std::time::Duration;

use runtime::Tasks;
use runtime::database::limited;
use sqlx::PgPool;

use crate::store::backlog as store;

/// How often the gauges are refreshed.
const EVERY: Duration = Duration::from_secs(5);

/// Refreshes the gauges until shutdown.
pub(crate) fn start(pool: &PgPool, tasks: &Tasks) {
    let (pool, shutdown) = (pool.clone(), tasks.shutdown.clone());
    tasks.spawn("relay gauges", async move {
        let mut turn = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = turn.tick() => {}
            }
            if let Err(error) = limited(refresh(&pool)).await {
                tracing::warn!(%error, "could not refresh the gauges; retrying in {EVERY:?}");
            }
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^53")]
async fn refresh(pool: &PgPool) -> sqlx::Result<()> {
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
