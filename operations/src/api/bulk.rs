//! `/api/v1/ops/bulk-acts`: acts on all that a filter matches.

use std::num::NonZeroU32;
use std::sync::Arc;

use access::Caller;
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runtime::http::{ApiJson, ApiQuery, RequestContext};
use runtime::{ApiError, ErrorBody};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answers::{ActorHeader, Justification, ReadErrors, WriteErrors, id_in_path, limit, operator};
use crate::OperationError;
use crate::Shared;
use crate::read::bulk::{self, BulkAct, BulkActs};
use crate::write::bulk::{BulkPreview, BulkVerb, BulkWork, Effort, cancel, preview, start};
use crate::write::dead::DeadFilter;
use crate::write::replay::Selection;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(list_bulk_acts))
        .routes(routes!(start_bulk_act))
        .routes(routes!(preview_bulk_act))
        .routes(routes!(get_bulk_act))
        .routes(routes!(cancel_bulk_act))
}

/// The id of an act in the path.
#[derive(Debug, Clone, Copy)]
struct BulkActId(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for BulkActId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id_in_path(parts, state, "BULK_ACT_NOT_FOUND", "bulk act").await.map(Self)
    }
}

/// What is to be done to what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WorkBody {
    act: BulkVerb,
    /// For `retry` and `discard`: which dead jobs. An empty object means all of them.
    jobs: Option<DeadFilter>,
    /// For `replay`: which events.
    events: Option<Selection>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartBody {
    act: BulkVerb,
    /// For `retry` and `discard`: which dead jobs. An empty object means all of them.
    jobs: Option<DeadFilter>,
    /// For `replay`: which events.
    events: Option<Selection>,
    /// The most rows in a second. Unset: as fast as it goes.
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 10_000)]
    per_second: Option<NonZeroU32>,
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

fn work(act: BulkVerb, jobs: Option<DeadFilter>, events: Option<Selection>) -> Result<BulkWork, ApiError> {
    let invalid = |field: &'static str, message: &str| ApiError::invalid_field(field, message.to_owned());
    match (act, jobs, events) {
        (BulkVerb::Replay, None, Some(events)) => Ok(BulkWork::Replay(events)),
        (BulkVerb::Retry, Some(jobs), None) => Ok(BulkWork::Retry(jobs)),
        (BulkVerb::Discard, Some(jobs), None) => Ok(BulkWork::Discard(jobs)),
        (BulkVerb::Replay, ..) => Err(invalid("events", "is what a replay acts on: give it, and no jobs")),
        (BulkVerb::Retry | BulkVerb::Discard, ..) => {
            Err(invalid("jobs", "is what a retry or a discard acts on: give it, and no events"))
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<i64>,
}

/// Acts on all that a filter matches
///
/// Newest first.
#[utoipa::path(get, path = "/bulk-acts", tag = "Operations", params(ListParams),
    responses((status = 200, body = BulkActs), ReadErrors))]
async fn list_bulk_acts(
    State(api): State<Arc<Shared>>,
    ApiQuery(params): ApiQuery<ListParams>,
) -> Result<Json<BulkActs>, ApiError> {
    Ok(Json(bulk::list(&api.pool, limit(params.limit, 50, 200)?).await?))
}

/// What an act would be done to
///
/// Counts and shows some of it; changes nothing.
#[utoipa::path(post, path = "/bulk-acts/preview", tag = "Operations", request_body = WorkBody,
    responses((status = 200, body = BulkPreview), WriteErrors))]
async fn preview_bulk_act(
    State(api): State<Arc<Shared>>,
    ApiJson(body): ApiJson<WorkBody>,
) -> Result<Json<BulkPreview>, ApiError> {
    let WorkBody { act, jobs, events } = body;
    Ok(Json(preview(&api.pool, &work(act, jobs, events)?, Effort::Thorough).await?))
}

/// Act on all that a filter matches
///
/// It goes on in batches, also after a restart of this process, and can be cancelled. Each batch is an operator action of its own. It
/// takes what matches now; what comes later is left alone.
#[utoipa::path(post, path = "/bulk-acts", tag = "Operations", request_body = StartBody, params(ActorHeader),
    responses((status = 202, body = BulkAct, headers(("Location" = String, description = "Where its progress is"))), WriteErrors))]
async fn start_bulk_act(
    State(api): State<Arc<Shared>>,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<StartBody>,
) -> Result<Response, ApiError> {
    let StartBody { act, jobs, events, per_second, reason } = body;
    let operator = operator(caller, context, &reason)?;
    let act = start(&api.pool, &api.ids, work(act, jobs, events)?, per_second, &operator).await?;
    let location = HeaderValue::try_from(format!("/api/v1/ops/bulk-acts/{}", act.id)).map_err(ApiError::internal)?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(act)).into_response())
}

/// How far an act is
#[utoipa::path(get, path = "/bulk-acts/{id}", tag = "Operations", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, body = BulkAct), (status = 404, description = "`BULK_ACT_NOT_FOUND`", body = ErrorBody), ReadErrors))]
async fn get_bulk_act(State(api): State<Arc<Shared>>, BulkActId(id): BulkActId) -> Result<Json<BulkAct>, ApiError> {
    let act = bulk::get(&api.pool, id).await?;
    Ok(Json(act.ok_or(OperationError::BulkActNotFound(id))?))
}

/// Cancel an act
///
/// It ends before its next batch. What is done stays done.
#[utoipa::path(post, path = "/bulk-acts/{id}/cancel", tag = "Operations", request_body = Justification,
    params(("id" = uuid::Uuid, Path), ActorHeader),
    responses((status = 200, body = BulkAct), WriteErrors))]
async fn cancel_bulk_act(
    State(api): State<Arc<Shared>>,
    BulkActId(id): BulkActId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<Json<BulkAct>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(cancel(&api.pool, id, operator).await?))
}
