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
    /// `SCREAMING_SNAKE`; what programs decide by.
    #[schema(example = "INVALID_STATE_TRANSITION")]
    pub code: String,
    /// For people.
    pub message: String,
    /// Depends on the code; `{}` when there is nothing to add.
    #[schema(value_type = Object)]
    pub details: Value,
    /// Finds the log lines of this request.
    pub request_id: String,
}
