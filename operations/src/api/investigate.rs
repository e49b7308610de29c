//! `/api/v1/ops/investigations`: who looks into what.

use std::sync::Arc;

use access::Caller;
use axum::Json;
use axum::extract::State;
use runtime::ApiError;
use runtime::http::{ApiJson, RequestContext};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answers::{ActorHeader, WriteErrors, operator};
use crate::Shared;
use crate::write::{Changed, Operator, investigate};

/// Events that one request names.
const MOST: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(begin_investigation)).routes(routes!(close_investigation))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EventsBody {
    #[schema(min_items = 1, max_items = 1000)]
    event_ids: Vec<Uuid>,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

impl EventsBody {
    /// The events, and who names them.
    fn named(self, caller: Caller, context: RequestContext) -> Result<(Vec<Uuid>, Operator), ApiError> {
        if self.event_ids.len() > MOST {
            return Err(ApiError::invalid_field("event_ids", format!("must be at most {MOST}")));
        }
        Ok((self.event_ids, operator(caller, context, &self.reason)?))
    }
}

/// Put a name at events
///
/// Others see who looks into them. It keeps nothing from happening, and takes the place of another name.
#[utoipa::path(post, path = "/investigations", tag = "Operations", request_body = EventsBody, params(ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn begin_investigation(
    State(api): State<Arc<Shared>>,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<EventsBody>,
) -> Result<Json<Changed>, ApiError> {
    let (event_ids, operator) = body.named(caller, context)?;
    Ok(Json(investigate::begin(&api.pool, &event_ids, &operator).await?))
}

/// Take the names off events
#[utoipa::path(post, path = "/investigations/close", tag = "Operations", request_body = EventsBody, params(ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn close_investigation(
    State(api): State<Arc<Shared>>,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<EventsBody>,
) -> Result<Json<Changed>, ApiError> {
    let (event_ids, operator) = body.named(caller, context)?;
    Ok(Json(investigate::close(&api.pool, &event_ids, &operator).await?))
}
