//! The connection of a batcher.

use std::time::Instant;

use runtime::database;
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

use super::Batched;

/// A connection that is kept from batch to batch: taking one from the pool and giving it back costs a round trip.
pub(super) struct Session {
    pool: PgPool,
    /// With the time when it was last used.
    kept: Option<(PoolConnection<Postgres>, Instant)>,
}

impl Session {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, kept: None }
    }

    /// Executes a batch: all of it commits, or none of it.
    pub(super) async fn execute<K: Batched>(&mut self, batch: &[K::Command]) -> sqlx::Result<Vec<K::Outcome>> {
        let mut connection = self.connection().await?;
        runtime::faults::point("command.batch.ready");
        let outcomes = database::limited(K::execute(&mut connection, batch)).await;
        runtime::faults::point("command.batch.committed");
        if outcomes.as_ref().is_err_and(database::ends_connection) {
            drop(connection.detach());
        } else {
            self.kept = Some((connection, Instant::now()));
        }
        outcomes
    }

    /// The kept connection, if it still answers after its rest, else another one. No command notices the difference.
    async fn connection(&mut self) -> sqlx::Result<PoolConnection<Postgres>> {
        if let Some((mut connection, used_at)) = self.kept.take() {
            match database::test_after_rest(&mut connection, used_at.elapsed()).await {
                Ok(()) => return Ok(connection),
                Err(error) => {
                    tracing::info!(%error, "a batcher's connection is gone, taking another one");
                    drop(connection.detach());
                }
            }
        }
        self.pool.acquire().await
    }
}
