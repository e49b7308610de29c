//! What operations have in common over HTTP: ids and queues in a path, and refusals.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use contracts::Queue;
use runtime::http::RequestContext;
use runtime::{ApiError, ErrorBody, FieldError};
use serde_json::json;
use uuid::Uuid;

use crate::{Door, OperationError, Operator};

/// The answers to everything that only looks.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub(super) enum LookErrors {
    /// `UNAUTHORIZED`: `OPS_TOKEN` is set and the request does not carry it.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// `VALIDATION_FAILED` with the offending parameters.
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// `SERVICE_UNAVAILABLE`: try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The answers to an act that is not carried out; nothing was changed.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
pub(super) enum ActErrors {
    /// `MALFORMED_JSON`.
    #[response(status = 400)]
    Malformed(ErrorBody),
    /// `UNAUTHORIZED`: `OPS_TOKEN` is set and the request does not carry it.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// `EVENT_NOT_FOUND`, `JOB_NOT_FOUND` or `QUEUE_NOT_FOUND`.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// `EVENT_NOT_SKIPPABLE`, `NOTHING_TO_RELEASE` or `JOB_NOT_DEAD`.
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

/// The event that the path names, or whose events.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventId(pub(super) Uuid);

/// The queue that the path names.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueName(pub(super) Queue);

impl<S: Send + Sync> FromRequestParts<S> for EventId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = Path::<String>::from_request_parts(parts, state).await.ok();
        let id = id.and_then(|Path(id)| Uuid::try_parse(&id).ok());
        let none = "no event has this id: the ids of events are UUIDs, and this is none";
        id.map(Self).ok_or_else(|| ApiError::not_found("EVENT_NOT_FOUND", none))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueueName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name = Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| name).unwrap_or_default();
        name.parse().map(Self).map_err(|error| OperationError::QueueNotFound(error).into())
    }
}

/// Who acts: named by `X-Actor`.
pub(super) fn operator(context: RequestContext, reason: &str) -> Result<Operator, ApiError> {
    let required = || ApiError::validation(vec![FieldError::new("X-Actor", "is required: every act is recorded")]);
    let actor = context.actor.ok_or_else(required)?;
    Ok(Operator::new(&actor, Door::Rest, reason, Some(context.request_id))?)
}

/// A number of lines from 1 to `most`.
pub(super) fn limit(given: Option<i64>, default: i64, most: i64) -> Result<i64, ApiError> {
    let limit = given.unwrap_or(default);
    let wrong = || ApiError::validation(vec![FieldError::new("limit", format!("must be from 1 to {most}"))]);
    (1..=most).contains(&limit).then_some(limit).ok_or_else(wrong)
}

impl From<OperationError> for ApiError {
    fn from(error: OperationError) -> Self {
        let message = error.to_string();
        match error {
            OperationError::EventNotFound(id) => {
                Self::not_found("EVENT_NOT_FOUND", message).with_details(json!({ "id": id }))
            }
            OperationError::EventNotSkippable { id, .. } => {
                Self::conflict("EVENT_NOT_SKIPPABLE", message).with_details(json!({ "id": id }))
            }
            OperationError::NothingToRelease { id, .. } => {
                Self::conflict("NOTHING_TO_RELEASE", message).with_details(json!({ "id": id }))
            }
            OperationError::JobNotFound(id, _) => {
                Self::not_found("JOB_NOT_FOUND", message).with_details(json!({ "id": id }))
            }
            OperationError::JobNotDead(id) => Self::conflict("JOB_NOT_DEAD", message).with_details(json!({ "id": id })),
            OperationError::QueueNotFound(_) => Self::not_found("QUEUE_NOT_FOUND", message),
            OperationError::Invalid(field, message) => Self::validation(vec![FieldError::new(field, message)]),
            OperationError::TooMany { rows, most } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "REPLAY_TOO_LARGE", message)
                    .with_details(json!({ "selected": rows, "most": most }))
            }
            OperationError::Database(error) => error.into(),
        }
    }
}
