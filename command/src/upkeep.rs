//! Forgets answers that no client will ask for again.

use std::time::Duration;

use runtime::{Clock, Tasks, database};
use sqlx::PgPool;

use crate::store;

const EVERY: Duration = Duration::from_secs(600);

pub(crate) async fn run(pool: PgPool, clock: Clock, retention_hours: u32, tasks: Tasks) {
    let mut turn = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = tasks.shutdown.cancelled() => return,
            _ = turn.tick() => {}
        }
        let before = clock.now() - chrono::Duration::hours(retention_hours.into());
        match database::limited(store::forget_answers(&pool, before)).await {
            Ok(0) => {}
            Ok(answers) => tracing::info!(answers, "idempotency keys forgotten"),
            Err(error) => tracing::warn!(%error, "idempotency keys not swept; trying again at the next turn"),
        }
    }
}
