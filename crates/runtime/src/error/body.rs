//! The error shape on the wire.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// What went wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// `SCREAMING_SNAKE`; for programs to decide by.
    #[schema(example = "INVALID_STATE_TRANSITION")]
    pub code: String,
    /// For people to read.
    pub message: String,
    /// Depends on the code; `{}` when there is nothing to add.
    #[schema(value_type = Object)]
    pub details: Value,
    /// The log lines of this request carry it.
    pub request_id: String,
    /// Where the code is explained.
    #[schema(example = "/docs/errors#INVALID_STATE_TRANSITION")]
    pub docs: String,
}

/// The media type of problem details.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// The same as problem details (RFC 9457), for clients that ask for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    #[schema(example = "/docs/errors#INVALID_STATE_TRANSITION")]
    pub kind: String,
    /// What the status is called.
    #[schema(example = "Conflict")]
    pub title: String,
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// For people to read.
    pub detail: String,
    #[schema(example = "INVALID_STATE_TRANSITION")]
    pub code: String,
    /// Depends on the code.
    #[schema(value_type = Object)]
    pub details: Value,
    pub request_id: String,
}

impl ErrorDetail {
    /// The problem that this error is.
    pub(crate) fn problem(self, status: StatusCode) -> Problem {
        Problem {
            kind: self.docs,
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: self.message,
            code: self.code,
            details: self.details,
            request_id: self.request_id,
        }
    }
}
