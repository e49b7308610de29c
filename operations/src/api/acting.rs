//! `POST` under `/api/v1/ops`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use contracts::Queue;
use runtime::ApiError;
use runtime::http::{ApiJson, RequestContext};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Api;
use super::answers::{ActErrors, EventId, QueueName, operator};
use crate::jobs::{self, Dead};
use crate::replay::{self, Preview, Selection};
use crate::{Acted, OperationError, queues, release, skip};

/// Events replayed by one request, which must end before its time is up.
const MOST_REPLAYED: u64 = 10_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(replay_events))
        .routes(routes!(skip_event))
        .routes(routes!(release_event))
        .routes(routes!(retry_jobs))
        .routes(routes!(pause_queue))
        .routes(routes!(resume_queue))
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Because {
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    selection: Selection,
    /// Only tells what would be sent.
    #[serde(default)]
    dry_run: bool,
    /// Required, but for a dry run.
    #[schema(min_length = 1, max_length = 1000)]
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Replayed {
    dry_run: bool,
    selected: Preview,
    /// 0 after a dry run.
    rows_changed: u64,
}

/// Send events again
///
/// Each keeps its id, so whoever has consumed it drops it: its effect happens at most once. At most 10,000 events;
/// `ops replay` takes any number, at a rate.
#[utoipa::path(post, path = "/replay", tag = "Operations", request_body = ReplayBody,
    params(("X-Actor" = Option<String>, Header, description = "Who; required, but for a dry run")),
    responses((status = 200, body = Replayed), ActErrors))]
async fn replay_events(
    State(api): State<Arc<Api>>,
    context: RequestContext,
    ApiJson(body): ApiJson<ReplayBody>,
) -> Result<Json<Replayed>, ApiError> {
    let ReplayBody { selection, dry_run, reason } = body;
    if dry_run {
        let selected = replay::preview(&api.pool, &selection).await?;
        return Ok(Json(Replayed { dry_run, selected, rows_changed: 0 }));
    }
    let operator = operator(context, &reason.unwrap_or_default())?;
    let selected = replay::preview(&api.pool, &selection).await?;
    if selected.events > MOST_REPLAYED {
        return Err(OperationError::TooMany { rows: selected.events, most: MOST_REPLAYED }.into());
    }
    let acted = replay::replay(&api.pool, &selection, None, &operator).await?;
    Ok(Json(Replayed { dry_run, selected, rows_changed: acted.rows_changed }))
}

/// Give an event up
///
/// It is never delivered, and its order, return, document or refund goes on without it.
#[utoipa::path(post, path = "/events/{id}/skip", tag = "Operations", request_body = Because,
    params(("id" = String, Path), ("X-Actor" = String, Header, description = "Who")),
    responses((status = 200, body = Acted), ActErrors))]
async fn skip_event(
    State(api): State<Arc<Api>>,
    EventId(id): EventId,
    context: RequestContext,
    ApiJson(body): ApiJson<Because>,
) -> Result<Json<Acted>, ApiError> {
    let operator = operator(context, &body.reason)?;
    Ok(Json(skip::skip(&api.pool, id, operator).await?))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Only its job in this queue.
    #[schema(value_type = Option<String>)]
    queue: Option<Queue>,
}

/// End a wait
///
/// An event or job in back-off is due now. A job that runs loses its lease and is begun again, in doubt.
#[utoipa::path(post, path = "/events/{id}/release", tag = "Operations", request_body = ReleaseBody,
    params(("id" = String, Path), ("X-Actor" = String, Header, description = "Who")),
    responses((status = 200, body = Acted), ActErrors))]
async fn release_event(
    State(api): State<Arc<Api>>,
    EventId(id): EventId,
    context: RequestContext,
    ApiJson(body): ApiJson<ReleaseBody>,
) -> Result<Json<Acted>, ApiError> {
    let operator = operator(context, &body.reason)?;
    Ok(Json(release::release(&api.pool, id, body.queue, operator).await?))
}

/// Which dead jobs; what is given narrows it down, and something must be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryBody {
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Those of these events.
    #[serde(default)]
    #[schema(max_items = 1000)]
    event_ids: Vec<Uuid>,
    /// Those of this queue.
    #[schema(value_type = Option<String>)]
    queue: Option<Queue>,
    /// All there are.
    #[serde(default)]
    all: bool,
}

/// Retry dead jobs
///
/// They get all their attempts back, and are looked up before they are tried: an effect that happened is not repeated.
#[utoipa::path(post, path = "/jobs/retry", tag = "Operations", request_body = RetryBody,
    params(("X-Actor" = String, Header, description = "Who")),
    responses((status = 200, body = Acted), ActErrors))]
async fn retry_jobs(
    State(api): State<Arc<Api>>,
    context: RequestContext,
    ApiJson(body): ApiJson<RetryBody>,
) -> Result<Json<Acted>, ApiError> {
    let operator = operator(context, &body.reason)?;
    let dead = Dead { event_ids: body.event_ids, queue: body.queue, all: body.all };
    Ok(Json(jobs::retry(&api.pool, &dead, &operator).await?))
}

/// Pause a queue
///
/// Nobody begins a job of it until it is resumed; what runs is finished. It stays paused over restarts.
#[utoipa::path(post, path = "/queues/{queue}/pause", tag = "Operations", request_body = Because,
    params(("queue" = String, Path, description = "invoices, credit_notes, refunds, notifications or projections"),
           ("X-Actor" = String, Header, description = "Who")),
    responses((status = 200, body = Acted), ActErrors))]
async fn pause_queue(
    State(api): State<Arc<Api>>,
    QueueName(queue): QueueName,
    context: RequestContext,
    ApiJson(body): ApiJson<Because>,
) -> Result<Json<Acted>, ApiError> {
    let operator = operator(context, &body.reason)?;
    Ok(Json(queues::pause(&api.pool, queue, operator).await?))
}

/// Resume a queue
#[utoipa::path(post, path = "/queues/{queue}/resume", tag = "Operations", request_body = Because,
    params(("queue" = String, Path, description = "invoices, credit_notes, refunds, notifications or projections"),
           ("X-Actor" = String, Header, description = "Who")),
    responses((status = 200, body = Acted), ActErrors))]
async fn resume_queue(
    State(api): State<Arc<Api>>,
    QueueName(queue): QueueName,
    context: RequestContext,
    ApiJson(body): ApiJson<Because>,
) -> Result<Json<Acted>, ApiError> {
    let operator = operator(context, &body.reason)?;
    Ok(Json(queues::resume(&api.pool, queue, operator).await?))
}
