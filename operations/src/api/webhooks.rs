//! `/api/v1/ops/webhooks`.

use std::sync::Arc;
use std::time::Duration;

use access::Caller;
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use runtime::ApiError;
use runtime::http::{ApiJson, ApiQuery, RequestContext};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answers::{ActorHeader, Justification, ReadErrors, WriteErrors, id_in_path, limit, operator};
use crate::OperationError;
use crate::Shared;
use crate::read::webhooks::{self as read, Deliveries, DeliveryLog, DeliveryStatus, Endpoint, Endpoints};
use crate::write::Changed;
use crate::write::webhooks::{self, EndpointWithSecret, Recovered, Started, Wanted};

/// The longest list.
const MOST: i64 = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks))
        .routes(routes!(create_webhook))
        .routes(routes!(get_webhook))
        .routes(routes!(change_webhook))
        .routes(routes!(delete_webhook))
        .routes(routes!(rotate_webhook))
        .routes(routes!(test_webhook))
        .routes(routes!(recover_webhook))
        .routes(routes!(list_deliveries))
        .routes(routes!(get_delivery))
        .routes(routes!(redeliver))
}

/// The id in the path.
#[derive(Debug, Clone, Copy)]
struct EndpointId(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for EndpointId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id_in_path(parts, state, "WEBHOOK_NOT_FOUND", "webhook endpoint").await.map(Self)
    }
}

/// The ids of an endpoint and of an event in the path.
#[derive(Debug, Clone, Copy)]
struct DeliveryId {
    endpoint_id: Uuid,
    event_id: Uuid,
}

impl<S: Send + Sync> FromRequestParts<S> for DeliveryId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let ids = Path::<(String, String)>::from_request_parts(parts, state).await.ok();
        let parsed = ids.and_then(|Path((endpoint, event))| Some((endpoint.parse().ok()?, event.parse().ok()?)));
        let missing = || ApiError::not_found("DELIVERY_NOT_FOUND", "no delivery has these ids: they are not UUIDs");
        parsed.map(|(endpoint_id, event_id)| Self { endpoint_id, event_id }).ok_or_else(missing)
    }
}

/// The endpoints of webhooks
///
/// Where events are sent to, by the Standard Webhooks specification.
#[utoipa::path(get, path = "/webhooks", tag = "Operations", responses((status = 200, body = Endpoints), ReadErrors))]
async fn list_webhooks(State(api): State<Arc<Shared>>) -> Result<Json<Endpoints>, ApiError> {
    Ok(Json(read::endpoints(&api.pool).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWebhookBody {
    /// It begins with https:// and leads to a public address.
    #[schema(min_length = 1, max_length = 2048, pattern = "^https?://")]
    url: String,
    /// Types of the events to send; none: all.
    #[serde(default)]
    #[schema(schema_with = event_types)]
    event_types: Vec<String>,
    #[schema(min_length = 1, max_length = 255)]
    description: Option<String>,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// Make an endpoint
///
/// It gets the events that happen from now on. The answer is the only place where its secret is shown.
#[utoipa::path(post, path = "/webhooks", tag = "Operations", request_body = NewWebhookBody, params(ActorHeader),
    responses((status = 201, body = EndpointWithSecret), WriteErrors))]
async fn create_webhook(
    State(api): State<Arc<Shared>>,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<NewWebhookBody>,
) -> Result<(StatusCode, Json<EndpointWithSecret>), ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let NewWebhookBody { url, event_types, description, .. } = body;
    let wanted = Wanted { url: Some(url), description, event_types: Some(event_types), enabled: None };
    let (wanted, at) = (wanted.parse(api.allow_private_webhooks)?, api.surroundings.clock.now());
    let made = webhooks::create(&api.pool, api.ids.next(), wanted, at, operator).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One endpoint
#[utoipa::path(get, path = "/webhooks/{id}", tag = "Operations", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, body = Endpoint), (status = 404, description = "`WEBHOOK_NOT_FOUND`", body = runtime::ErrorBody), ReadErrors))]
async fn get_webhook(State(api): State<Arc<Shared>>, EndpointId(id): EndpointId) -> Result<Json<Endpoint>, ApiError> {
    Ok(Json(read::endpoint(&api.pool, id).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeWebhookBody {
    #[schema(min_length = 1, max_length = 2048, pattern = "^https?://")]
    url: Option<String>,
    /// All types to send, in place of the earlier ones; an empty list: all there are.
    #[schema(schema_with = event_types)]
    event_types: Option<Vec<String>>,
    #[schema(min_length = 1, max_length = 255)]
    description: Option<String>,
    /// A disabled endpoint gets nothing, and nothing is recorded for it.
    enabled: Option<bool>,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// Change an endpoint
///
/// What is left out stays as it is.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "Operations", request_body = ChangeWebhookBody,
    params(("id" = uuid::Uuid, Path), ActorHeader), responses((status = 200, body = Endpoint), WriteErrors))]
async fn change_webhook(
    State(api): State<Arc<Shared>>,
    EndpointId(id): EndpointId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<ChangeWebhookBody>,
) -> Result<Json<Endpoint>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let ChangeWebhookBody { url, event_types, description, enabled, .. } = body;
    let wanted = Wanted { url, description, event_types, enabled }.parse(api.allow_private_webhooks)?;
    Ok(Json(webhooks::change(&api.pool, id, wanted, operator).await?))
}

/// Delete an endpoint
///
/// What is pending for it is discarded.
#[utoipa::path(post, path = "/webhooks/{id}/delete", tag = "Operations", request_body = Justification,
    params(("id" = uuid::Uuid, Path), ActorHeader), responses((status = 200, body = Changed), WriteErrors))]
async fn delete_webhook(
    State(api): State<Arc<Shared>>,
    EndpointId(id): EndpointId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(webhooks::delete(&api.pool, id, operator).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateWebhookBody {
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Seconds for which the earlier secret signs too.
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: Option<u64>,
}

/// Rotate an endpoint's secret
///
/// Until the overlap has passed, every event is signed with both secrets.
#[utoipa::path(post, path = "/webhooks/{id}/rotate-secret", tag = "Operations", request_body = RotateWebhookBody,
    params(("id" = uuid::Uuid, Path), ActorHeader), responses((status = 200, body = EndpointWithSecret), WriteErrors))]
async fn rotate_webhook(
    State(api): State<Arc<Shared>>,
    EndpointId(id): EndpointId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<RotateWebhookBody>,
) -> Result<Json<EndpointWithSecret>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let overlap = body.overlap_seconds.map_or(webhooks::USUAL_OVERLAP, Duration::from_secs);
    Ok(Json(webhooks::rotate(&api.pool, id, overlap, api.surroundings.clock.now(), operator).await?))
}

/// Send a test event
///
/// Of the type `webhook.test`, also to endpoints that want other types. The answer names the delivery, whose log says what came of it.
#[utoipa::path(post, path = "/webhooks/{id}/test", tag = "Operations", request_body = Justification,
    params(("id" = uuid::Uuid, Path), ActorHeader), responses((status = 202, body = Started), WriteErrors))]
async fn test_webhook(
    State(api): State<Arc<Shared>>,
    EndpointId(id): EndpointId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let (event_id, at) = (api.ids.next(), api.surroundings.clock.now());
    Ok((StatusCode::ACCEPTED, Json(webhooks::test(&api.pool, id, event_id, at, operator).await?)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RecoverBody {
    /// Events that have happened since.
    since: DateTime<Utc>,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// Recover what an endpoint has missed
///
/// Makes every delivery of events since then that has failed, or was not recorded because the endpoint was disabled.
#[utoipa::path(post, path = "/webhooks/{id}/recover", tag = "Operations", request_body = RecoverBody,
    params(("id" = uuid::Uuid, Path), ActorHeader), responses((status = 200, body = Recovered), WriteErrors))]
async fn recover_webhook(
    State(api): State<Arc<Shared>>,
    EndpointId(id): EndpointId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<RecoverBody>,
) -> Result<Json<Recovered>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    if body.since.timestamp() < 0 || body.since > api.surroundings.clock.now() {
        return Err(OperationError::Invalid("since", "must be in the past, from 1970 on".to_owned()).into());
    }
    let pool = api.pool.clone();
    // It goes on when the client has gone.
    let recovered = tokio::spawn(async move { webhooks::recover(&pool, id, body.since, operator).await });
    Ok(Json(recovered.await.map_err(ApiError::internal)??))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveryParams {
    #[param(inline)]
    status: Option<DeliveryStatus>,
    /// `next_before` of the page before.
    before: Option<Uuid>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// Deliveries to an endpoint
#[utoipa::path(get, path = "/webhooks/{id}/deliveries", tag = "Operations", params(("id" = uuid::Uuid, Path), DeliveryParams),
    responses((status = 200, body = Deliveries), (status = 404, description = "`WEBHOOK_NOT_FOUND`", body = runtime::ErrorBody), ReadErrors))]
async fn list_deliveries(
    State(api): State<Arc<Shared>>,
    EndpointId(id): EndpointId,
    ApiQuery(params): ApiQuery<DeliveryParams>,
) -> Result<Json<Deliveries>, ApiError> {
    let most = limit(params.limit, 100, MOST)?;
    Ok(Json(read::deliveries(&api.pool, id, params.status, params.before, most).await?))
}

/// One delivery, with its attempts
#[utoipa::path(get, path = "/webhooks/{id}/deliveries/{event_id}", tag = "Operations",
    params(("id" = uuid::Uuid, Path), ("event_id" = uuid::Uuid, Path)),
    responses((status = 200, body = DeliveryLog), (status = 404, description = "`DELIVERY_NOT_FOUND`", body = runtime::ErrorBody), ReadErrors))]
async fn get_delivery(State(api): State<Arc<Shared>>, delivery: DeliveryId) -> Result<Json<DeliveryLog>, ApiError> {
    Ok(Json(read::delivery(&api.pool, delivery.endpoint_id, delivery.event_id).await?))
}

/// Deliver an event again
#[utoipa::path(post, path = "/webhooks/{id}/deliveries/{event_id}/redeliver", tag = "Operations", request_body = Justification,
    params(("id" = uuid::Uuid, Path), ("event_id" = uuid::Uuid, Path), ActorHeader),
    responses((status = 202, body = Started), WriteErrors))]
async fn redeliver(
    State(api): State<Arc<Shared>>,
    delivery: DeliveryId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let started = webhooks::redeliver(&api.pool, delivery.endpoint_id, delivery.event_id, operator).await?;
    Ok((StatusCode::ACCEPTED, Json(started)))
}

/// The types of events that can be sent, in the API description.
fn event_types() -> utoipa::openapi::schema::Schema {
    use contracts::EventType;
    use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

    let one =
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(EventType::news().map(EventType::as_str)));
    ArrayBuilder::new().items(one).max_items(Some(50)).into()
}
