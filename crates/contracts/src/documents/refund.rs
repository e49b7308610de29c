//! A refund.

use chrono::{DateTime, Utc};
use domain::RefundStatus;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::credit_note::CreditNoteDocument;
use super::tax::TaxDocument;
use crate::names::names;
use crate::values::{CustomerId, Hsn, OrderNumber, Sku};
use crate::{Email, named, schema};

/// Why money is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefundKind {
    /// A return was completed.
    Return,
    /// A paid order was cancelled.
    Cancellation,
    /// The shop gives money back without a return.
    Goodwill,
}

names!(RefundKind { Return => "RETURN", Cancellation => "CANCELLATION", Goodwill => "GOODWILL" });

/// What a refund without a return gives back of one item of the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RefundItemDocument {
    pub order_item_id: Uuid,
    #[schema(value_type = String, max_length = 64)]
    pub sku: Sku,
    pub title: String,
    /// Harmonised System of Nomenclature code, as it was sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 16)]
    pub hsn: Option<Hsn>,
    /// Per cent, as it was sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    /// With the tax and the shipping.
    pub amount_minor: i64,
    /// The tax in what is given back of the goods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxDocument>,
    /// What is given back of the shipping, with the tax. Part of `amount_minor`.
    #[serde(default)]
    pub shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_tax: Option<TaxDocument>,
}

/// A refund: money of an order that is given back. It is the snapshot of the `refund.*` events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RefundDocument {
    /// `UUIDv7`.
    pub id: Uuid,
    pub order_id: Uuid,
    #[schema(value_type = String, max_length = 32)]
    pub order_number: OrderNumber,
    /// The return that is refunded. Only where `kind` is `RETURN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_id: Option<Uuid>,
    pub kind: RefundKind,
    #[schema(value_type = String, max_length = 64)]
    pub customer_id: CustomerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub customer_email: Option<Email>,
    #[serde(with = "named")]
    #[schema(value_type = schema::RefundStatus)]
    pub status: RefundStatus,
    /// 1 at creation, one more with every change of the status; also the `ETag`.
    pub version: i32,
    /// More than 0.
    #[schema(minimum = 1)]
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// The payment of the order that this refund gives back, as the order named it when the refund was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub payment_transaction_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is given back of each item. Only where `kind` is `GOODWILL`; a return has its own items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<RefundItemDocument>,
    /// Whether a credit note follows: money was given back after the invoice. Before it, the invoice shows the lower value itself.
    /// Only where `kind` is `GOODWILL`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_credit_note: bool,
    /// The gateway's name of this refund. Only where it is `PROCESSED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// The reference under which the customer's bank finds the payment (ARN or RRN), if the gateway has named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_reference: Option<String>,
    /// What the gateway said when it refused the refund. Only where it is `FAILED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<DateTime<Utc>>,
    /// Only from the query service, once the PDF is stored. A return's credit note is shown in the return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_note: Option<CreditNoteDocument>,
}

impl RefundDocument {
    /// The idempotency key of the refund at the gateway: the return's id, or the refund's own where there is no return.
    pub fn gateway_key(&self) -> Uuid {
        self.return_id.unwrap_or(self.id)
    }
}
