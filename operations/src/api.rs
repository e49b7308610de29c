//! The operators' API: REST under `/api/v1/ops`.

mod read;
mod write;
mod answers;
mod bulk;
mod investigate;
mod keys;
mod webhooks;

use std::sync::Arc;

use access::Access;
use axum::Router;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::Shared;

#[derive(utoipa::OpenApi)]
#[openapi(tags((
    name = "Operations",
    description = "Look after the outbox and the queues. Served by `ops`, a process of its own. Every operator action is \
                   recorded with who did it (the caller, with `AUTH=none` `X-Actor`) and why (`reason`)."
)))]
struct Documented;

fn router() -> OpenApiRouter<Arc<Shared>> {
    let acts = write::routes().merge(bulk::routes()).merge(investigate::routes());
    let routes = read::routes().merge(acts).merge(keys::routes()).merge(webhooks::routes());
    OpenApiRouter::with_openapi(Documented::openapi()).nest("/api/v1/ops", routes)
}

/// The routes.
pub fn routes(shared: Shared, access: &Access) -> Router {
    access.guard_operations(router().with_state(Arc::new(shared)).split_for_parts().0)
}

/// The description of the operators' endpoints.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}
