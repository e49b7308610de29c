//! What the REST API and the console share.

use std::sync::Arc;

use runtime::{ApiError, Ids};
use sqlx::PgPool;
use tokio::sync::Semaphore;

use crate::audit::{self, Report, Scope, Sources};
use crate::doctor::Surroundings;

/// What the handlers of the REST API and of the console share.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) pool: PgPool,
    sources: Sources,
    pub(crate) surroundings: Surroundings,
    pub(crate) ids: Ids,
    /// Whether webhooks may go to private addresses.
    pub(crate) allow_private_webhooks: bool,
    /// An audit reads everything and holds two connections: one at a time.
    audits: Arc<Semaphore>,
}

impl Shared {
    /// On a pool with the rights of an operator ([`crate::ROLE`]) and at least two connections.
    pub fn new(pool: PgPool, sources: Sources, surroundings: Surroundings, allow_private_webhooks: bool) -> Self {
        let (ids, audits) = (Ids::system(), Arc::new(Semaphore::new(1)));
        Self { pool, sources, surroundings, ids, allow_private_webhooks, audits }
    }

    /// Runs an audit to its end, also when the client has gone.
    ///
    /// # Errors
    /// 409 while another audit is running.
    pub(crate) async fn audit(&self, drained: bool) -> Result<Report, ApiError> {
        let Ok(permit) = self.audits.clone().try_acquire_owned() else {
            return Err(ApiError::conflict("AUDIT_IN_PROGRESS", "another audit is running; wait until it ends"));
        };
        let broker = self.surroundings.transport.rabbitmq_url.is_some();
        let scope = Scope { sources: self.sources.clone(), drained, broker };
        let pool = self.pool.clone();
        // Spawned, because a client that hangs up would drop the audit and leave its transactions open.
        let audit = tokio::spawn(async move {
            let report = audit::audit(&pool, &scope).await;
            drop(permit);
            report
        });
        Ok(audit.await.map_err(ApiError::internal)??)
    }
}
