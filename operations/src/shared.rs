//! What the REST API, the console and the tools of assistants share.

use std::sync::Arc;

use access::Caller;
use runtime::http::RequestContext;
use runtime::{ApiError, Ids};
use sqlx::PgPool;
use storage::InvoiceStore;
use tokio::sync::Semaphore;

use crate::audit::{self, Report, Scope, Sources};
use crate::doctor::{self, Diagnosis, Surroundings};
use crate::write::{Operator, Source};

/// What the handlers of all of them share.
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

    /// The store of the PDFs; `None` when this process was not told where it is.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) async fn documents(&self) -> Result<Option<InvoiceStore>, String> {
        let Some(url) = &self.sources.invoice_store else { return Ok(None) };
        storage::open_existing(url).await.map(Some).map_err(|error| error.to_string())
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

    /// What is wrong, also while the database cannot be read.
    pub(crate) async fn diagnosis(&self) -> Diagnosis {
        match doctor::diagnose(&self.pool, &self.surroundings).await {
            Ok(diagnosis) => diagnosis,
            Err(error) => {
                tracing::warn!(%error, "diagnosis without the database");
                doctor::without_database("it does not answer; the log says why", &self.surroundings).await
            }
        }
    }
}

/// Who acts and why: the caller, or with `AUTH=none` whom `X-Actor` names.
pub(crate) fn operator(
    caller: &Caller,
    context: &RequestContext,
    source: Source,
    reason: &str,
) -> Result<Operator, ApiError> {
    let required = || ApiError::invalid_field("X-Actor", "is required: every operator action is recorded");
    let actor = match caller {
        Caller::Known(principal) => &principal.name,
        Caller::Unchecked => context.actor.as_ref().ok_or_else(required)?,
    };
    Ok(Operator::new(actor, source, reason, Some(context.request_id.clone()))?)
}
