//! What the endpoints share: ids and queues in a path, and refusals.

use std::convert::Infallible;

use access::Caller;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use chrono::{DateTime, Datelike, Utc};
use contracts::Queue;
use runtime::http::RequestContext;
use runtime::{ApiError, ErrorBody};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::OperationError;
use crate::shared;
use crate::write::{Operator, Source};

/// The errors of endpoints that only read.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub(super) enum ReadErrors {
    /// `VALIDATION_FAILED` with the offending parameters.
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// `SERVICE_UNAVAILABLE`: try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The errors of operator actions; nothing was changed, unless the code says so.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub(super) enum WriteErrors {
    /// `MALFORMED_JSON`.
    #[response(status = 400)]
    Malformed(ErrorBody),
    /// `EVENT_NOT_FOUND`, `JOB_NOT_FOUND`, `QUEUE_NOT_FOUND`, `KEY_NOT_FOUND`, `WEBHOOK_NOT_FOUND`, `DELIVERY_NOT_FOUND` or `BULK_ACT_NOT_FOUND`.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// `EVENT_NOT_SKIPPABLE`, `NOTHING_TO_RELEASE`, `JOB_NOT_DEAD`, `KEY_EXISTS`, `KEY_REVOKED`, `WEBHOOK_DISABLED`, `DELIVERY_UNDER_WAY`, `LOG_NOT_READ`,
    /// `NOTHING_SELECTED`, `BULK_ACT_ENDED`,
    /// or `REPLAY_STALLED`: a part is replayed.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// `UNSUPPORTED_MEDIA_TYPE`.
    #[response(status = 415)]
    MediaType(ErrorBody),
    /// `VALIDATION_FAILED` with the offending fields, or `REPLAY_TOO_LARGE`.
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// `SERVICE_UNAVAILABLE`: try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The id in the path: of an event, or of an order, return, document or refund.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventId(pub(super) Uuid);

/// The queue in the path.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueName(pub(super) Queue);

/// Any name, number or id in the path. What is no text names none.
#[derive(Debug, Clone)]
pub(super) struct NameInPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for NameInPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let name = Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name);
        Ok(Self(name.unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for EventId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id_in_path(parts, state, "EVENT_NOT_FOUND", "event").await.map(Self)
    }
}

/// The UUID in the path; 404 with this code for anything else.
pub(super) async fn id_in_path<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    code: &'static str,
    kind: &str,
) -> Result<Uuid, ApiError> {
    let id = Path::<String>::from_request_parts(parts, state).await.ok();
    let id = id.and_then(|Path(id)| Uuid::try_parse(&id).ok());
    id.ok_or_else(|| ApiError::not_found(code, format!("no {kind} has this id: it is not a UUID")))
}

impl<S: Send + Sync> FromRequestParts<S> for QueueName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name = Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name).unwrap_or_default();
        name.parse().map(Self).map_err(|error| OperationError::QueueNotFound(error).into())
    }
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Justification {
    #[schema(min_length = 1, max_length = 1000)]
    pub(super) reason: String,
}

/// The header that [`operator`] reads.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct ActorHeader {
    /// Who; required with `AUTH=none`
    #[param(rename = "X-Actor", max_length = 64)]
    actor: Option<String>,
}

/// Who acts: the caller, or with `AUTH=none` whom `X-Actor` names.
#[expect(clippy::needless_pass_by_value, reason = "the handlers have no other use for them")]
pub(super) fn operator(caller: Caller, context: RequestContext, reason: &str) -> Result<Operator, ApiError> {
    shared::operator(&caller, &context, Source::Rest, reason)
}

/// The length of a list, from 1 to `most`.
pub(super) fn limit(given: Option<i64>, default: i64, most: i64) -> Result<i64, ApiError> {
    let limit = given.unwrap_or(default);
    let wrong = || ApiError::invalid_field("limit", format!("must be from 1 to {most}"));
    (1..=most).contains(&limit).then_some(limit).ok_or_else(wrong)
}

/// A moment of a year that people use and Postgres can store.
pub(super) fn instant(field: &str, text: &str) -> Result<DateTime<Utc>, ApiError> {
    // In a query string an unescaped `+` means a space: `T18:30:00+05:30` arrives as `T18:30:00 05:30`.
    let at = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok().map(|at| at.to_utc());
    let wrong = || ApiError::invalid_field(field, "must be a time as 2026-11-21T10:00:00Z, of the years 1900 to 9999");
    at.filter(|at| (1900..=9999).contains(&at.year())).ok_or_else(wrong)
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        let message = error.to_string();
        let named = |id: Uuid| json!({ "id": id });
        match error {
            OperationError::EventNotFound(id) => Self::not_found("EVENT_NOT_FOUND", message).with_details(named(id)),
            OperationError::OrderNotFound(of) => {
                Self::not_found("ORDER_NOT_FOUND", message).with_details(json!({ "of": of }))
            }
            OperationError::ReturnNotFound(id) => Self::not_found("RETURN_NOT_FOUND", message).with_details(named(id)),
            OperationError::DocumentNotFound(id) => {
                Self::not_found("DOCUMENT_NOT_FOUND", message).with_details(named(id))
            }
            OperationError::NoPdf { .. } => Self::not_found("DOCUMENT_FILE_MISSING", message),
            OperationError::EventNotSkippable { id, .. } => {
                Self::conflict("EVENT_NOT_SKIPPABLE", message).with_details(named(id))
            }
            OperationError::NothingToRelease { id, .. } => {
                Self::conflict("NOTHING_TO_RELEASE", message).with_details(named(id))
            }
            OperationError::JobNotFound(id, _) => Self::not_found("JOB_NOT_FOUND", message).with_details(named(id)),
            OperationError::JobNotDead(id) => Self::conflict("JOB_NOT_DEAD", message).with_details(named(id)),
            OperationError::ScheduleNotFound(_) => Self::not_found("SCHEDULE_NOT_FOUND", message),
            OperationError::ScheduleNotRunnable { name, .. } => {
                Self::conflict("SCHEDULE_NOT_RUNNABLE", message).with_details(json!({ "schedule": name }))
            }
            OperationError::KeyNotFound(id) => Self::not_found("KEY_NOT_FOUND", message).with_details(named(id)),
            OperationError::KeyExists(name) => {
                Self::conflict("KEY_EXISTS", message).with_details(json!({ "name": name }))
            }
            OperationError::KeyRevoked(id) => Self::conflict("KEY_REVOKED", message).with_details(named(id)),
            OperationError::QueueNotFound(_) => Self::not_found("QUEUE_NOT_FOUND", message),
            OperationError::Invalid(field, message) => Self::invalid_field(field, message),
            OperationError::ReplayTooLarge { events, limit } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "REPLAY_TOO_LARGE", message)
                    .with_details(json!({ "selected": events, "most": limit }))
            }
            OperationError::ReplayStalled { replayed, .. } => {
                Self::conflict("REPLAY_STALLED", message).with_details(json!({ "replayed": replayed }))
            }
            OperationError::BulkActNotFound(id) => {
                Self::not_found("BULK_ACT_NOT_FOUND", message).with_details(named(id))
            }
            OperationError::BulkActEnded { id, .. } => {
                Self::conflict("BULK_ACT_ENDED", message).with_details(named(id))
            }
            OperationError::CustomerNotFound(_) => Self::not_found("CUSTOMER_NOT_FOUND", message),
            OperationError::NotErasable(_)
            | OperationError::NotAtRest { .. }
            | OperationError::DocumentsLeft { .. }
            | OperationError::FileLeft { .. } => Self::conflict("NOT_ERASABLE", message),
            OperationError::WebhookNotFound(id) => {
                Self::not_found("WEBHOOK_NOT_FOUND", message).with_details(named(id))
            }
            OperationError::DeliveryNotFound { endpoint_id, event_id } => {
                Self::not_found("DELIVERY_NOT_FOUND", message)
                    .with_details(json!({ "endpoint_id": endpoint_id, "event_id": event_id }))
            }
            OperationError::WebhookDisabled(id) => Self::conflict("WEBHOOK_DISABLED", message).with_details(named(id)),
            OperationError::DeliveryUnderWay => Self::conflict("DELIVERY_UNDER_WAY", message),
            OperationError::LogNotRead => Self::conflict("LOG_NOT_READ", message),
            OperationError::NothingSelected => Self::conflict("NOTHING_SELECTED", message),
            OperationError::Database(error) => error.into(),
        }
    }
}
