//! The error shape on the wire.

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
}
