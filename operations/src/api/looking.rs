//! `GET` under `/api/v1/ops`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use contracts::Queue;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::answers::{EventId, LookErrors, limit};
use crate::acts::{self, Act};
use crate::audit::{self, Report, Scope};
use crate::doctor::{self, Diagnosis};
use crate::jobs::{self, Filter, JobStatus, Jobs};
use crate::queues::{self, QueueStatus};
use crate::schedules::{self, Schedules};
use crate::show::{self, Shown};
use crate::status::{self, SystemStatus};
use crate::stuck::{self, Stuck};

/// Lines of a list.
const MOST: i64 = 1_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(get_status))
        .routes(routes!(list_stuck))
        .routes(routes!(show_event))
        .routes(routes!(list_jobs))
        .routes(routes!(list_queues))
        .routes(routes!(list_acts))
        .routes(routes!(list_schedules))
        .routes(routes!(run_audit))
        .routes(routes!(get_diagnosis))
}

/// How things stand
///
/// Relays with their shards, the outbox, every queue, and the last acts.
#[utoipa::path(get, path = "/status", tag = "Operations", responses((status = 200, body = SystemStatus), LookErrors))]
async fn get_status(State(api): State<Arc<Api>>) -> Result<Json<SystemStatus>, ApiError> {
    Ok(Json(status::status(&api.pool).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StuckParams {
    /// After how many seconds something that merely waits counts as stuck.
    #[param(minimum = 0, default = 30)]
    older_than_seconds: Option<u32>,
    /// Lines of each kind.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// What does not get on
///
/// Events that are parked, failing or waiting for too long; jobs that are dead, in doubt, failing or overdue.
#[utoipa::path(get, path = "/stuck", tag = "Operations", params(StuckParams),
    responses((status = 200, body = Stuck), LookErrors))]
async fn list_stuck(
    State(api): State<Arc<Api>>,
    ApiQuery(params): ApiQuery<StuckParams>,
) -> Result<Json<Stuck>, ApiError> {
    let older_than = params.older_than_seconds.map_or(stuck::PATIENCE, |seconds| Duration::from_secs(seconds.into()));
    Ok(Json(stuck::stuck(&api.pool, older_than, limit(params.limit, 100, MOST)?).await?))
}

/// One event, or all of an order, return, document or refund
///
/// The row of the outbox with its payload, the job in each queue, and what operators did to it.
#[utoipa::path(get, path = "/events/{id}", tag = "Operations",
    params(("id" = String, Path, description = "Of the event, or of the order, return, document or refund")),
    responses((status = 200, body = Shown), (status = 404, description = "`EVENT_NOT_FOUND`", body = ErrorBody), LookErrors))]
async fn show_event(State(api): State<Arc<Api>>, EventId(id): EventId) -> Result<Json<Shown>, ApiError> {
    Ok(Json(show::show(&api.pool, id).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobParams {
    #[param(value_type = Option<String>)]
    queue: Option<Queue>,
    /// Unset: `dead` and `in_doubt`.
    status: Option<JobStatus>,
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

/// Jobs
///
/// The latest arrivals first.
#[utoipa::path(get, path = "/jobs", tag = "Operations", params(JobParams),
    responses((status = 200, body = Jobs), LookErrors))]
async fn list_jobs(State(api): State<Arc<Api>>, ApiQuery(params): ApiQuery<JobParams>) -> Result<Json<Jobs>, ApiError> {
    let statuses = params.status.into_iter().collect();
    let filter = Filter { queue: params.queue, statuses, limit: limit(params.limit, 50, MOST)? };
    Ok(Json(jobs::list(&api.pool, &filter).await?))
}

/// A list.
#[derive(Debug, Serialize, ToSchema)]
struct Queues {
    data: Vec<QueueStatus>,
}

/// The queues
#[utoipa::path(get, path = "/queues", tag = "Operations", responses((status = 200, body = Queues), LookErrors))]
async fn list_queues(State(api): State<Arc<Api>>) -> Result<Json<Queues>, ApiError> {
    Ok(Json(Queues { data: queues::list(&api.pool).await? }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ActParams {
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

/// A list.
#[derive(Debug, Serialize, ToSchema)]
struct Acts {
    /// Newest first.
    data: Vec<Act>,
}

/// What operators did
///
/// Who, when and why. Nobody can change it.
#[utoipa::path(get, path = "/acts", tag = "Operations", params(ActParams),
    responses((status = 200, body = Acts), LookErrors))]
async fn list_acts(State(api): State<Arc<Api>>, ApiQuery(params): ApiQuery<ActParams>) -> Result<Json<Acts>, ApiError> {
    Ok(Json(Acts { data: acts::list(&api.pool, limit(params.limit, 50, MOST)?).await? }))
}

/// What is done by the clock
///
/// When each schedule is due, who leads it, and what became of its last run.
#[utoipa::path(get, path = "/schedules", tag = "Operations", responses((status = 200, body = Schedules), LookErrors))]
async fn list_schedules(State(api): State<Arc<Api>>) -> Result<Json<Schedules>, ApiError> {
    Ok(Json(schedules::list(&api.pool).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// Whether there must be no backlog.
    #[serde(default)]
    #[param(default = false)]
    drained: bool,
}

/// Whether all holds that must hold
///
/// The ten rules of what must hold after any fault. It reads everything there is: for a database that takes longer than
/// `HTTP_REQUEST_TIMEOUT_SECONDS`, use `ops audit`.
#[utoipa::path(get, path = "/audit", tag = "Operations", params(AuditParams),
    responses(
        (status = 200, body = Report),
        (status = 409, description = "`AUDIT_IN_PROGRESS`: another one runs", body = ErrorBody),
        LookErrors,
    ))]
async fn run_audit(
    State(api): State<Arc<Api>>,
    ApiQuery(params): ApiQuery<AuditParams>,
) -> Result<Json<Report>, ApiError> {
    let Ok(permit) = api.audits.clone().try_acquire_owned() else {
        return Err(ApiError::conflict("AUDIT_IN_PROGRESS", "another audit runs; wait for it"));
    };
    let broker = api.surroundings.transport.rabbitmq_url.is_some();
    let scope = Scope { sources: api.sources.clone(), drained: params.drained, broker };
    // A client that hangs up must not leave its transactions behind.
    let audit = tokio::spawn(async move {
        let report = audit::audit(&api.pool, &scope).await;
        drop(permit);
        report
    });
    Ok(Json(audit.await.map_err(ApiError::internal)??))
}

/// What keeps events from arriving, or schedules from running
///
/// Each finding has its cause and what to do about it.
#[utoipa::path(get, path = "/doctor", tag = "Operations", responses((status = 200, body = Diagnosis), LookErrors))]
async fn get_diagnosis(State(api): State<Arc<Api>>) -> Json<Diagnosis> {
    Json(match doctor::diagnose(&api.pool, &api.surroundings).await {
        Ok(diagnosis) => diagnosis,
        Err(error) => {
            tracing::warn!(%error, "diagnosis without the database");
            doctor::without_database("it does not answer; the log says why", &api.surroundings).await
        }
    })
}
