//! What operators can do, over HTTP, under `/api/v1/ops`.

mod looking;
mod acting;
mod answers;
mod bearer;

use std::sync::Arc;

use axum::{Router, middleware};
use messaging::TransportConfig;
use runtime::Clock;
use runtime::config::DatabaseConfig;
use runtime::database;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::operations;
use crate::operations::audit::Sources;
use crate::operations::doctor::Surroundings;

/// Connections of its own, so that no operator's query takes one from the relay.
const CONNECTIONS: u32 = 3;

/// Settings of the operators' API.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ApiSettings {
    /// Secret that every request under `/api/v1/ops` must carry as `Authorization: Bearer`. Unset: none is asked for.
    #[arg(long, env = "OPS_TOKEN", hide_env_values = true, value_parser = token)]
    pub ops_token: Option<SecretString>,
    #[command(flatten)]
    pub sources: Sources,
}

/// An empty secret would be none, and look like one.
fn token(text: &str) -> Result<SecretString, &'static str> {
    if text.is_empty() { Err("a secret is wanted, or nothing at all") } else { Ok(text.into()) }
}

/// What the handlers have.
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
    description = "Look after the outbox and the queues. Served by the relay. Every act is recorded with who did it \
                   (`X-Actor`) and why (`reason`). With `OPS_TOKEN` set, every request needs `Authorization: Bearer`."
)))]
struct Documented;

fn router() -> OpenApiRouter<Arc<Api>> {
    let routes = looking::routes().merge(acting::routes());
    OpenApiRouter::with_openapi(Documented::openapi()).nest("/api/v1/ops", routes)
}

/// The routes, on a small pool of their own.
pub async fn routes(
    database: &DatabaseConfig,
    transport: TransportConfig,
    settings: ApiSettings,
    retention_days: i32,
    clock: Clock,
) -> anyhow::Result<Router> {
    let database = DatabaseConfig { max_connections: CONNECTIONS, ..database.clone() };
    let pool = database::connect(&database, Some(operations::ROLE), "outbox-relay operators").await?;
    let surroundings = Surroundings { transport, retention_days, clock };
    let api = Api { pool, sources: settings.sources, surroundings, audits: Arc::new(Semaphore::new(1)) };
    let routes = router().with_state(Arc::new(api)).split_for_parts().0;
    Ok(match settings.ops_token {
        Some(token) => routes.layer(middleware::from_fn_with_state(bearer::Bearer::of(&token), bearer::require)),
        None => routes,
    })
}

/// The description of the operators' endpoints.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}
