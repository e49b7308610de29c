//! The operators' API: REST under `/api/v1/ops`.

mod read;
mod write;
mod answers;
mod keys;
mod webhooks;

use std::sync::Arc;

use access::Access;
use axum::Router;
use runtime::Ids;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::audit::Sources;
use crate::doctor::Surroundings;

/// What the handlers share.
#[derive(Debug)]
struct Api {
    pool: PgPool,
    sources: Sources,
    surroundings: Surroundings,
    ids: Ids,
    /// Whether webhooks may go to private addresses.
    allow_private_webhooks: bool,
    /// An audit reads everything and holds two connections: one at a time.
    audits: Arc<Semaphore>,
}

#[derive(utoipa::OpenApi)]
#[openapi(tags((
    name = "Operations",
    description = "Look after the outbox and the queues. Served by `ops`, a process of its own. Every operator action is \
                   recorded with who did it (the caller, with `AUTH=none` `X-Actor`) and why (`reason`)."
)))]
struct Documented;

fn router() -> OpenApiRouter<Arc<Api>> {
    let routes = read::routes().merge(write::routes()).merge(keys::routes()).merge(webhooks::routes());
    OpenApiRouter::with_openapi(Documented::openapi()).nest("/api/v1/ops", routes)
}

/// The routes, on a pool with the rights of an operator ([`crate::ROLE`]) and at least two connections.
pub fn routes(
    pool: PgPool,
    sources: Sources,
    surroundings: Surroundings,
    allow_private_webhooks: bool,
    access: &Access,
) -> Router {
    let ids = Ids::system();
    let api = Api { pool, sources, surroundings, ids, allow_private_webhooks, audits: Arc::new(Semaphore::new(1)) };
    access.guard_operations(router().with_state(Arc::new(api)).split_for_parts().0)
}

/// The description of the operators' endpoints.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}
