//! `POST` under `/api/v1/ops`.

use std::sync::Arc;

use access::Caller;
use axum::Json;
use axum::extract::State;
use contracts::{Email, Queue};
use runtime::ApiError;
use runtime::http::{ApiJson, RequestContext};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answers::{ActorHeader, EventId, Justification, NameInPath, QueueName, WriteErrors, operator};
use crate::Shared;
use crate::write::replay::{self, Preview, Selection};
use crate::write::retry::{self, DeadJobs};
use crate::write::schedule::{self, RunAsked};
use crate::write::{Changed, discard, pause, release, skip};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(replay_events))
        .routes(routes!(skip_event))
        .routes(routes!(release_event))
        .routes(routes!(retry_jobs))
        .routes(routes!(discard_jobs))
        .routes(routes!(pause_queue))
        .routes(routes!(resume_queue))
        .routes(routes!(run_schedule))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    selection: Selection,
    /// Only returns what would be sent.
    #[serde(default)]
    dry_run: bool,
    /// Required, except for a dry run.
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

/// Replay events
///
/// The relay sends them again. Each keeps its id, so a consumer that already has it drops the copy: its effect happens at
/// most once. At most 10,000 events; `ops replay` takes any number, at a rate.
#[utoipa::path(post, path = "/replay", tag = "Operations", request_body = ReplayBody,
    params(("X-Actor" = Option<String>, Header, max_length = 64, description = "Who; required with `AUTH=none`, except for a dry run")),
    responses((status = 200, body = Replayed), WriteErrors))]
async fn replay_events(
    State(api): State<Arc<Shared>>,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<ReplayBody>,
) -> Result<Json<Replayed>, ApiError> {
    let ReplayBody { selection, dry_run, reason } = body;
    if dry_run {
        let selected = replay::preview(&api.pool, &selection).await?;
        return Ok(Json(Replayed { dry_run, selected, rows_changed: 0 }));
    }
    let operator = operator(caller, context, &reason.unwrap_or_default())?;
    let (selected, changed) = replay::replay_at_once(&api.pool, &selection, &operator).await?;
    Ok(Json(Replayed { dry_run, selected, rows_changed: changed.rows_changed }))
}

/// Skip an event
///
/// No job queue runs it, and its order, return, document or refund continues without it. Read models show it all the same.
/// Refused while a relay is sending it.
#[utoipa::path(post, path = "/events/{id}/skip", tag = "Operations", request_body = Justification,
    params(("id" = uuid::Uuid, Path), ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn skip_event(
    State(api): State<Arc<Shared>>,
    EventId(id): EventId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(skip::skip(&api.pool, id, operator).await?))
}

/// Why, and in which queue.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct JobBody {
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Only its job in this queue.
    queue: Option<Queue>,
}

/// End a wait
///
/// An event or job in back-off is due now. A running job is taken from its worker and starts again, in doubt.
#[utoipa::path(post, path = "/events/{id}/release", tag = "Operations", request_body = JobBody,
    params(("id" = uuid::Uuid, Path), ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn release_event(
    State(api): State<Arc<Shared>>,
    EventId(id): EventId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<JobBody>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(release::release(&api.pool, id, body.queue, operator).await?))
}

/// Which dead jobs. Each field narrows the selection, and at least one is required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryBody {
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// The dead jobs of these events.
    #[serde(default)]
    #[schema(max_items = 1000)]
    event_ids: Vec<Uuid>,
    /// The dead jobs of this queue.
    queue: Option<Queue>,
    /// All dead jobs.
    #[serde(default)]
    all: bool,
    /// The address to which the e-mail goes instead. Only for one event, with the queue `notifications`.
    #[serde(default)]
    #[schema(max_length = 254, format = Email)]
    customer_email: Option<String>,
}

/// Retry dead jobs
///
/// They get all their attempts back. The worker first looks up whether the effect happened, so it does not happen twice.
#[utoipa::path(post, path = "/jobs/retry", tag = "Operations", request_body = RetryBody,
    params(ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn retry_jobs(
    State(api): State<Arc<Shared>>,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<RetryBody>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    let customer_email = body.customer_email.as_deref().map(Email::parse).transpose();
    let customer_email =
        customer_email.map_err(|error| ApiError::invalid_field("customer_email", error.to_string()))?;
    let selection = DeadJobs { event_ids: body.event_ids, queue: body.queue, all: body.all, customer_email };
    Ok(Json(retry::retry(&api.pool, &selection, &operator).await?))
}

/// Discard the dead jobs of an event
///
/// They end for good, without their effect. In an ordered queue the later events of the aggregate go on.
#[utoipa::path(post, path = "/events/{id}/discard", tag = "Operations", request_body = JobBody,
    params(("id" = uuid::Uuid, Path), ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn discard_jobs(
    State(api): State<Arc<Shared>>,
    EventId(id): EventId,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<JobBody>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(discard::discard(&api.pool, id, body.queue, operator).await?))
}

/// Pause a queue
///
/// Its consumers start no jobs until it is resumed; running jobs finish. It stays paused across restarts.
#[utoipa::path(post, path = "/queues/{queue}/pause", tag = "Operations", request_body = Justification,
    params(("queue" = Queue, Path),
           ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn pause_queue(
    State(api): State<Arc<Shared>>,
    QueueName(queue): QueueName,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(pause::pause(&api.pool, queue, operator).await?))
}

/// Resume a queue
#[utoipa::path(post, path = "/queues/{queue}/resume", tag = "Operations", request_body = Justification,
    params(("queue" = Queue, Path),
           ActorHeader),
    responses((status = 200, body = Changed), WriteErrors))]
async fn resume_queue(
    State(api): State<Arc<Shared>>,
    QueueName(queue): QueueName,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<Json<Changed>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(pause::resume(&api.pool, queue, operator).await?))
}

/// Run a schedule now
///
/// Its next run moves up to now; the times of its expression stay as they are. The instance that leads it starts within two seconds, and
/// `GET /ops/schedules` has the run, with the same `due_at`. Without a leader it runs when a process that has the schedule starts.
#[utoipa::path(post, path = "/schedules/{name}/run", tag = "Operations", request_body = Justification,
    params(("name" = String, Path, max_length = 64, example = "partition_maintenance"),
           ActorHeader),
    responses((status = 200, body = RunAsked), WriteErrors))]
async fn run_schedule(
    State(api): State<Arc<Shared>>,
    NameInPath(name): NameInPath,
    caller: Caller,
    context: RequestContext,
    ApiJson(body): ApiJson<Justification>,
) -> Result<Json<RunAsked>, ApiError> {
    let operator = operator(caller, context, &body.reason)?;
    Ok(Json(schedule::run_now(&api.pool, name, &api.surroundings.clock, operator).await?))
}
