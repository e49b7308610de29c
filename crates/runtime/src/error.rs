//! The one error that crosses the HTTP border, in one shape.

mod body;
mod fields;

use std::fmt::{self, Display};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::database;
use crate::request_id::current_request_id;

pub(crate) use body::PROBLEM;
pub use body::{ErrorBody, ErrorDetail, Problem};
pub(crate) use fields::FieldError;
pub use fields::FieldErrors;

/// What a client is told when a request did not succeed.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    /// `SCREAMING_SNAKE`; what programs decide by.
    pub code: &'static str,
    /// For people.
    pub message: String,
    pub details: Value,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: json!({}) }
    }

    pub fn with_details(self, details: Value) -> Self {
        Self { details, ..self }
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 500 `INTERNAL_ERROR`. The error goes to the log, once, with the request id that the client is given; the
    /// client learns nothing else.
    pub fn internal(error: impl Display) -> Self {
        tracing::error!(error = format!("{error:#}"), request_id = log_request_id(), "request failed");
        Self::opaque_internal()
    }

    /// [`internal`](Self::internal) for an error that is in the log already.
    pub(crate) fn opaque_internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "something went wrong on our side; quote the request_id when you report it",
        )
    }

    /// 503 `SERVICE_UNAVAILABLE` with `Retry-After: 1`. The error goes to the log.
    pub fn unavailable(error: impl Display) -> Self {
        tracing::warn!(error = format!("{error:#}"), request_id = log_request_id(), "service unavailable");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SERVICE_UNAVAILABLE",
            "the service cannot answer at the moment; try again",
        )
    }
}

fn log_request_id() -> Option<String> {
    current_request_id().map(|id| id.to_string())
}

impl Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> Self {
        let docs = format!("/docs/errors#{}", error.code);
        let request_id = current_request_id().map(|id| id.to_string()).unwrap_or_default();
        let ApiError { code, message, details, .. } = error;
        Self { error: ErrorDetail { code: code.to_owned(), message, details, request_id, docs } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let body = ErrorBody::from(self);
        let mut response = (status, axum::Json(&body)).into_response();
        // The middleware writes it again for a client that asks for problem details.
        response.extensions_mut().insert(body.error);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        database::note_loss(&error);
        if database::is_unavailable(&error) {
            Self::unavailable(error)
        } else if database::is_untranslatable(&error) {
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "VALIDATION_FAILED",
                "a text must not contain the character U+0000",
            )
        } else {
            Self::internal(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_unavailable_and_a_bad_statement_is_internal() {
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert_eq!(ApiError::from(sqlx::Error::Io(lost)).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ApiError::from(sqlx::Error::PoolTimedOut).code, "SERVICE_UNAVAILABLE");
        assert_eq!(ApiError::from(sqlx::Error::RowNotFound).code, "INTERNAL_ERROR");
    }

    #[test]
    fn internal_text_stays_inside() {
        let error = ApiError::internal("password of the database is hush");
        assert!(!format!("{error:?}").contains("hush"));
    }
}
