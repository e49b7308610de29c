//! `GET` under `/api/v1/ops`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use contracts::{EventType, Queue};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::{EventId, NameInPath, ReadErrors, instant, limit};
use crate::Shared;
use crate::audit::Report;
use crate::doctor::Diagnosis;
use crate::read::actions::{self, Actions};
use crate::read::jobs::{self, Filter, JobStatus, Jobs};
use crate::read::queues::{self, QueueStatus};
use crate::read::schedules::{self, Schedules};
use crate::read::show::{self, Shown};
use crate::read::status::{self, SystemStatus};
use crate::read::story::{self, Story};
use crate::read::stuck::{self, Stuck};

/// The longest list.
const MOST: i64 = 1_000;
/// The longest text that is looked for in errors, in characters.
const LONGEST_ERROR: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(get_status))
        .routes(routes!(list_stuck))
        .routes(routes!(show_event))
        .routes(routes!(tell_story))
        .routes(routes!(list_jobs))
        .routes(routes!(list_queues))
        .routes(routes!(list_actions))
        .routes(routes!(list_schedules))
        .routes(routes!(run_audit))
        .routes(routes!(get_diagnosis))
}

/// The status of the system
///
/// Relays with their shards, the outbox, every queue, and the latest operator actions.
#[utoipa::path(get, path = "/status", tag = "Operations", responses((status = 200, body = SystemStatus), ReadErrors))]
async fn get_status(State(api): State<Arc<Shared>>) -> Result<Json<SystemStatus>, ApiError> {
    Ok(Json(status::status(&api.pool).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StuckParams {
    /// Seconds after which a waiting event or job counts as stuck.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64, default = 30)]
    older_than_seconds: Option<u32>,
    /// Most events, and most jobs, to list.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// What makes no progress
///
/// Events that are parked, failing or have waited too long; jobs that are dead, in doubt, failing or overdue.
#[utoipa::path(get, path = "/stuck", tag = "Operations", params(StuckParams),
    responses((status = 200, body = Stuck), ReadErrors))]
async fn list_stuck(
    State(api): State<Arc<Shared>>,
    ApiQuery(params): ApiQuery<StuckParams>,
) -> Result<Json<Stuck>, ApiError> {
    let older_than = params.older_than_seconds.map_or(stuck::PATIENCE, |seconds| Duration::from_secs(seconds.into()));
    Ok(Json(stuck::stuck(&api.pool, older_than, limit(params.limit, 100, MOST)?).await?))
}

/// One event, or all events of an order, return, document or refund
///
/// The row in the outbox with its payload, the job in each queue, and the operator actions.
#[utoipa::path(get, path = "/events/{id}", tag = "Operations",
    params(("id" = uuid::Uuid, Path, description = "Id of an event, order, return, document or refund")),
    responses((status = 200, body = Shown), (status = 404, description = "`EVENT_NOT_FOUND`", body = ErrorBody), ReadErrors))]
async fn show_event(State(api): State<Arc<Shared>>, EventId(id): EventId) -> Result<Json<Shown>, ApiError> {
    Ok(Json(show::show(&api.pool, id).await?))
}

/// The story of an order
///
/// Each step of the order and of its returns, refunds and documents; the event of each step, with its way to the job queues, e-mails and
/// webhooks; and what operators did about them. Steps stay, events with their jobs go with the log's retention.
#[utoipa::path(get, path = "/stories/{of}", tag = "Operations",
    params(("of" = String, Path, min_length = 1, max_length = 64,
            description = "Order number, or number of an invoice or a credit note, or id of the order or of one of its returns, refunds, documents or events")),
    responses((status = 200, body = Story), (status = 404, description = "`ORDER_NOT_FOUND`", body = ErrorBody), ReadErrors))]
async fn tell_story(State(api): State<Arc<Shared>>, NameInPath(of): NameInPath) -> Result<Json<Story>, ApiError> {
    Ok(Json(story::tell(&api.pool, &of).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobParams {
    #[param(inline)]
    queue: Option<Queue>,
    /// Unset: `dead` and `in_doubt`.
    #[param(inline)]
    status: Option<JobStatus>,
    /// Only jobs of events of this type.
    #[param(schema_with = event_type)]
    event_type: Option<String>,
    /// Only jobs whose last error contains this text, in upper or lower case.
    #[param(min_length = 1, max_length = 200)]
    error: Option<String>,
    /// Only jobs that came at this time or later. RFC 3339, of the years 1900 to 9999.
    #[param(value_type = Option<String>, format = DateTime, pattern = "^(19|[2-9][0-9])", example = "2026-11-21T10:00:00Z")]
    since: Option<String>,
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

impl JobParams {
    fn filter(self) -> Result<Filter, ApiError> {
        if self.event_type.as_ref().is_some_and(|name| name.parse::<EventType>().is_err()) {
            let known = EventType::ALL.map(EventType::as_str).join(", ");
            return Err(ApiError::invalid_field("event_type", format!("must be one of {known}")));
        }
        let length = self.error.as_ref().map_or(1, |text| text.chars().count());
        if !(1..=LONGEST_ERROR).contains(&length) {
            return Err(ApiError::invalid_field("error", format!("must have 1 to {LONGEST_ERROR} characters")));
        }
        Ok(Filter {
            queue: self.queue,
            statuses: self.status.into_iter().collect(),
            limit: limit(self.limit, 50, MOST)?,
            event_type: self.event_type,
            error: self.error,
            since: self.since.map(|text| instant("since", &text)).transpose()?,
        })
    }
}

/// The types of events, in the API description.
fn event_type() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, Type};

    let names = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(EventType::ALL.map(EventType::as_str)));
    names.description(Some("Only jobs of events of this type.")).into()
}

/// Jobs
///
/// The latest arrivals first. Of done and discarded jobs, only the newest 10,000 are looked at: of the queue, or in equal parts of all.
#[utoipa::path(get, path = "/jobs", tag = "Operations", params(JobParams),
    responses((status = 200, body = Jobs), ReadErrors))]
async fn list_jobs(
    State(api): State<Arc<Shared>>,
    ApiQuery(params): ApiQuery<JobParams>,
) -> Result<Json<Jobs>, ApiError> {
    Ok(Json(jobs::list(&api.pool, &params.filter()?).await?))
}

/// A list.
#[derive(Debug, Serialize, ToSchema)]
struct Queues {
    data: Vec<QueueStatus>,
}

/// The queues
#[utoipa::path(get, path = "/queues", tag = "Operations", responses((status = 200, body = Queues), ReadErrors))]
async fn list_queues(State(api): State<Arc<Shared>>) -> Result<Json<Queues>, ApiError> {
    Ok(Json(Queues { data: queues::list(&api.pool).await? }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ActionParams {
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

/// What operators did
///
/// Who, when and why. The record is append-only.
#[utoipa::path(get, path = "/actions", tag = "Operations", params(ActionParams),
    responses((status = 200, body = Actions), ReadErrors))]
async fn list_actions(
    State(api): State<Arc<Shared>>,
    ApiQuery(params): ApiQuery<ActionParams>,
) -> Result<Json<Actions>, ApiError> {
    Ok(Json(actions::list(&api.pool, limit(params.limit, 50, MOST)?).await?))
}

/// What runs by the clock
///
/// When each schedule is due, which instance leads it, and how its last run ended.
#[utoipa::path(get, path = "/schedules", tag = "Operations", responses((status = 200, body = Schedules), ReadErrors))]
async fn list_schedules(State(api): State<Arc<Shared>>) -> Result<Json<Schedules>, ApiError> {
    Ok(Json(schedules::list(&api.pool).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// Whether a backlog is a violation.
    #[serde(default)]
    #[param(default = false)]
    drained: bool,
}

/// Check everything that must hold
///
/// Ten rules that must hold after any fault. An audit reads the whole database: if that takes longer than
/// `HTTP_REQUEST_TIMEOUT_SECONDS`, use `ops audit`.
#[utoipa::path(get, path = "/audit", tag = "Operations", params(AuditParams),
    responses(
        (status = 200, body = Report),
        (status = 409, description = "`AUDIT_IN_PROGRESS`: another audit is running", body = ErrorBody),
        ReadErrors,
    ))]
async fn run_audit(
    State(api): State<Arc<Shared>>,
    ApiQuery(params): ApiQuery<AuditParams>,
) -> Result<Json<Report>, ApiError> {
    Ok(Json(api.audit(params.drained).await?))
}

/// What keeps events from arriving, or schedules from running
///
/// Each finding has its cause and its remedy.
#[utoipa::path(get, path = "/doctor", tag = "Operations", responses((status = 200, body = Diagnosis), ReadErrors))]
async fn get_diagnosis(State(api): State<Arc<Shared>>) -> Json<Diagnosis> {
    Json(api.diagnosis().await)
}
