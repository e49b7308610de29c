//! The operators' API: REST under `/api/v1/ops`.

mod read;
mod write;
mod answers;
mod bearer;

use std::sync::Arc;

use axum::{Router, middleware};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::audit::Sources;
use crate::doctor::Surroundings;

/// Settings of the operators' API.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ApiSettings {
    /// Secret that every request under `/api/v1/ops` must carry as `Authorization: Bearer`. Unset: none is asked for.
    #[arg(long, env = "OPS_TOKEN", hide_env_values = true, value_parser = token)]
    pub ops_token: Option<SecretString>,
    #[command(flatten)]
    pub sources: Sources,
}

/// An empty token would guard nothing.
fn token(text: &str) -> Result<SecretString, &'static str> {
    if text.is_empty() { Err("must not be empty; leave it unset to ask for no token") } else { Ok(text.into()) }
}

/// What the handlers share.
#[derive(Debug)]
struct Api {
    pool: PgPool,
    sources: Sources,
    surroundings: Surroundings,
    /// An audit reads everything and holds two connections: one at a time.
    audits: Arc<Semaphore>,
}

#[derive(utoipa::OpenApi)]
#[openapi(tags((
    name = "Operations",
    description = "Look after the outbox and the queues. Served by `ops`, a process of its own. Every operator action is \
                   recorded with who did it (`X-Actor`) and why (`reason`). With `OPS_TOKEN` set, every request needs \
                   `Authorization: Bearer`."
)))]
struct Documented;

fn router() -> OpenApiRouter<Arc<Api>> {
    let routes = read::routes().merge(write::routes());
    OpenApiRouter::with_openapi(Documented::openapi()).nest("/api/v1/ops", routes)
}

/// The routes, on a pool with the rights of an operator ([`crate::ROLE`]) and at least two connections.
pub fn routes(pool: PgPool, settings: ApiSettings, surroundings: Surroundings) -> Router {
    let api = Api { pool, sources: settings.sources, surroundings, audits: Arc::new(Semaphore::new(1)) };
    let routes = router().with_state(Arc::new(api)).split_for_parts().0;
    match settings.ops_token {
        Some(token) => routes.layer(middleware::from_fn_with_state(bearer::Bearer::of(&token), bearer::require)),
        None => routes,
    }
}

/// The description of the operators' endpoints.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}
