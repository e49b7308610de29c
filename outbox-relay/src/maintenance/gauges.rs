//! Gauges of outbox and inbox, for operators.
//!
//! One relay asks for them: the one that has leased shard 0. The others show none, so that each figure comes from one process.
//! A relay that could not ask shows none either, until it can.

use std::time::Duration;

use messaging::leases::Leases;
use runtime::Tasks;
use runtime::database::{limit_statements, within};
use sqlx::PgPool;
use tokio::sync::watch;

use crate::store::backlog as store;

/// How often the gauges are refreshed.
const EVERY: Duration = Duration::from_secs(5);
/// The limits of a refresh and of each of its statements: it has ended before the next one starts.
const REFRESH_WITHIN: Duration = Duration::from_secs(4);
const STATEMENT_WITHIN: Duration = Duration::from_millis(1_800);
/// The relay that has leased this shard leads.
const LEADS: i16 = 0;

const PENDING: &str = "outbox_pending_rows";
const PARKED: &str = "outbox_parked_rows";
const OLDEST_PENDING: &str = "outbox_oldest_pending_seconds";
const JOBS: &str = "inbox_rows";
const OLDEST_READY: &str = "inbox_oldest_ready_seconds";
const OUTAGE: &str = "inbox_outage_seconds";
const OLDEST_DUE: &str = "inbox_oldest_due_seconds";
const OLDEST_OPEN: &str = "inbox_oldest_open_seconds";
const UNPROJECTED: &str = "projection_oldest_pending_seconds";
const SIZE: &str = "messaging_bytes";
const GAUGES: [&str; 10] =
    [PENDING, PARKED, OLDEST_PENDING, JOBS, OLDEST_READY, OLDEST_DUE, OLDEST_OPEN, OUTAGE, UNPROJECTED, SIZE];

/// Refreshes the gauges until shutdown, whenever this relay leads.
pub(crate) fn start(pool: &PgPool, mut leases: watch::Receiver<Leases>, tasks: &Tasks) {
    let (pool, shutdown) = (pool.clone(), tasks.shutdown.clone());
    tasks.spawn("relay gauges", async move {
        let mut turn = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = leases.changed() => {}
                _ = turn.tick() => {}
            }
            let leads = leases.borrow_and_update().shards.contains(&LEADS);
            if !leads {
                runtime::metrics::show(&GAUGES, false);
                continue;
            }
            let refreshed = tokio::select! {
                () = shutdown.cancelled() => return,
                refreshed = within(REFRESH_WITHIN, refresh(&pool)) => refreshed,
            };
            runtime::metrics::show(&GAUGES, refreshed.is_ok());
            if let Err(error) = refreshed {
                tracing::warn!(%error, "could not refresh the gauges; they are not shown until that succeeds");
            }
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "gauges are f64; counts stay far below 2^53")]
async fn refresh(pool: &PgPool) -> sqlx::Result<()> {
    let mut asking = pool.begin().await?;
    limit_statements(&mut asking, STATEMENT_WITHIN).await?;
    let backlog = store::outbox_backlog(&mut asking).await?;
    let queues = store::queue_backlogs(&mut asking).await?;
    let unprojected = store::oldest_unprojected(&mut asking).await?;
    let bytes = store::size(&mut asking).await?;
    asking.commit().await?;
    metrics::gauge!(UNPROJECTED).set(age(unprojected));
    metrics::gauge!(SIZE).set(bytes as f64);
    metrics::gauge!(PENDING).set(backlog.pending as f64);
    metrics::gauge!(PARKED).set(backlog.parked as f64);
    metrics::gauge!(OLDEST_PENDING).set(age(backlog.oldest_pending));
    for queue in queues {
        let jobs = [
            ("ready", queue.ready),
            ("running", queue.running),
            ("in_doubt", queue.in_doubt),
            ("dead", queue.dead),
            ("blocked", queue.blocked),
        ];
        for (status, count) in jobs {
            metrics::gauge!(JOBS, "queue" => queue.name.clone(), "status" => status).set(count as f64);
        }
        metrics::gauge!(OUTAGE, "queue" => queue.name.clone()).set(age(queue.outage_since));
        metrics::gauge!(OLDEST_DUE, "queue" => queue.name.clone()).set(age(queue.oldest_due));
        metrics::gauge!(OLDEST_OPEN, "queue" => queue.name.clone()).set(age(queue.oldest_open));
        metrics::gauge!(OLDEST_READY, "queue" => queue.name).set(age(queue.oldest_ready));
    }
    Ok(())
}

fn age(since: Option<chrono::DateTime<chrono::Utc>>) -> f64 {
    since.map_or(0.0, |since| (runtime::Clock::system().now() - since).as_seconds_f64().max(0.0))
}
