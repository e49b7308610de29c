//! Deletes the answers that are older than clients may ask for.

use std::time::Duration;

use chrono::TimeDelta;
use runtime::{Clock, Tasks, database};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{App, store};

const EVERY: Duration = Duration::from_mins(10);

/// `retention_hours`: how long an answer is kept.
pub(super) fn start(app: &App, retention_hours: u32, tasks: &Tasks) {
    let retention = TimeDelta::hours(retention_hours.into());
    tasks.spawn("idempotency keys", run(app.pool.clone(), app.clock.clone(), retention, tasks.shutdown.clone()));
}

async fn run(pool: PgPool, clock: Clock, retention: TimeDelta, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => {}
        }
        match database::limited(store::delete_answers(&pool, clock.now() - retention)).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old idempotency keys deleted"),
            Err(error) => {
                tracing::warn!(%error, "cannot delete old idempotency keys; the next attempt is in 10 minutes");
            }
        }
    }
}
