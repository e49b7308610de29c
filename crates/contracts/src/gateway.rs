//! The payment gateway's protocol: what its clients send, and what the mock answers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The request header that identifies the refund. A request with a known key gets the first answer again. Without the
/// header the gateway uses the return's id.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// `POST /refund`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayRefundRequest {
    pub return_id: Uuid,
    /// Minor units (paise), more than 0.
    #[schema(minimum = 1)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(example = "INR")]
    pub currency: String,
}

/// How a refund at the gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum GatewayRefundStatus {
    Success,
}

/// The gateway's answer, the same for a first call, a repeat and a look-up (`GET /refund/{key}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayRefund {
    pub status: GatewayRefundStatus,
    pub transaction_id: String,
    pub return_id: Uuid,
    pub idempotency_key: String,
    /// Minor units (paise).
    pub amount: i64,
    pub currency: String,
    pub created_at: DateTime<Utc>,
}
