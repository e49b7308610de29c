//! A refund.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Email;
use crate::names::names;
use crate::values::{CustomerId, OrderNumber};

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefundStatus {
    Pending,
    Processed,
    Failed,
}

names!(RefundStatus { Pending => "PENDING", Processed => "PROCESSED", Failed => "FAILED" });

/// The refund of a return: the snapshot of the `refund.*` events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RefundDocument {
    pub id: Uuid,
    pub return_id: Uuid,
    pub order_id: Uuid,
    #[schema(value_type = String, max_length = 32)]
    pub order_number: OrderNumber,
    #[schema(value_type = String, max_length = 64)]
    pub customer_id: CustomerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub customer_email: Option<Email>,
    pub status: RefundStatus,
    pub version: i32,
    pub amount_minor: i64,
    pub currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    pub created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<DateTime<Utc>>,
}
