//! The payment gateway's protocol: what its clients send, and what the mock answers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The request header that identifies the refund. A request with a known key gets the first answer again. Without the
/// header the gateway uses the id in the body.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";

/// `POST /refund`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayRefundRequest {
    /// The return that is refunded. Either this or `refund_id` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_id: Option<Uuid>,
    /// The refund, where there is no return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<Uuid>,
    /// Minor units (paise), more than 0.
    #[schema(minimum = 1)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(pattern = "^[A-Z]{3}$", example = "INR")]
    pub currency: String,
    /// The payment that is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_transaction_id: Option<String>,
}

/// How a refund at the gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum GatewayRefundStatus {
    /// Paid.
    Success,
    /// Taken, and not paid yet. A look-up tells when it is.
    Pending,
    /// Not paid, and it never will be.
    Failed,
}

/// The gateway's answer, the same for a first call, a repeat and a look-up (`GET /refund/{key}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayRefund {
    pub status: GatewayRefundStatus,
    pub transaction_id: String,
    /// The reference under which the customer's bank finds the payment (ARN or RRN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<Uuid>,
    /// The payment that is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_transaction_id: Option<String>,
    pub idempotency_key: String,
    /// Minor units (paise).
    pub amount: i64,
    pub currency: String,
    pub created_at: DateTime<Utc>,
}

/// What the gateway sends when something has come of a refund. It is signed as the Standard Webhooks specification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayCallback {
    #[serde(rename = "type")]
    #[schema(example = "refund.updated")]
    pub kind: String,
    /// When it happened.
    pub timestamp: DateTime<Utc>,
    pub data: GatewayCallbackData,
}

/// Which refund it is about. What has come of it, a look-up tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayCallbackData {
    pub idempotency_key: Uuid,
}

impl GatewayRefundRequest {
    /// What is refunded: the return, or the refund where there is no return.
    pub fn about(&self) -> Option<Uuid> {
        self.return_id.or(self.refund_id)
    }
}

impl GatewayRefund {
    /// As [`GatewayRefundRequest::about`].
    pub fn about(&self) -> Option<Uuid> {
        self.return_id.or(self.refund_id)
    }
}
