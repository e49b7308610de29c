//! A return.

use chrono::{DateTime, Utc};
use domain::ReturnState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::credit_note::CreditNoteDocument;
use super::refund::RefundDocument;
use super::tax::TaxDocument;
use crate::names::names;
use crate::values::{CustomerId, Hsn, OrderNumber, Sku};
use crate::{Email, ReturnAction, Transition, named, schema};

/// Why a shop keeps money back from a return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FeeKind {
    /// Checking, cleaning and packing what came back.
    Restocking,
    /// Carrying it back.
    ReturnShipping,
}

names!(FeeKind { Restocking => "RESTOCKING", ReturnShipping => "RETURN_SHIPPING" });

/// A fee that is kept back from what a return refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FeeDocument {
    pub kind: FeeKind,
    /// With the tax. More than 0.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub amount_minor: i64,
}

/// A part of what was paid for a line, with its tax.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartDocument {
    pub goods_minor: i64,
    /// The tax in `goods_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxDocument>,
    #[serde(default)]
    pub shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_tax: Option<TaxDocument>,
}

/// A return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReturnDocument {
    /// `UUIDv7`.
    pub id: Uuid,
    pub order_id: Uuid,
    #[schema(value_type = String, max_length = 32)]
    pub order_number: OrderNumber,
    #[serde(with = "named")]
    #[schema(value_type = schema::ReturnState)]
    pub state: ReturnState,
    /// 1 at creation, one more with every transition; also the `ETag`.
    pub version: i32,
    #[schema(value_type = String, max_length = 64)]
    pub customer_id: CustomerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub customer_email: Option<Email>,
    pub currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub items: Vec<ReturnItemDocument>,
    /// The sum of the items' amounts: an estimate until the return is `COMPLETED`, then what is refunded.
    pub refund_amount_minor: i64,
    /// The fees that are kept back from the refund. Where they are more than it, nothing is refunded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fees: Vec<FeeDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_notes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection_category: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_transit_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<DateTime<Utc>>,
    /// Only from the query service, once a refund is initiated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<RefundDocument>,
    /// Only from the query service, once the PDF is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_note: Option<CreditNoteDocument>,
    /// What the caller may do next with the return. Only from the query service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_actions: Vec<ReturnAction>,
    /// All state changes, oldest first. Only from the query service, with `expand=history`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Transition>,
}

impl ReturnDocument {
    /// As commands answer with it: without what only the query service adds.
    pub fn as_answered(self) -> Self {
        Self { refund: None, credit_note: None, allowed_actions: Vec::new(), history: Vec::new(), ..self }
    }
}

impl ReturnItemDocument {
    /// Units that are refunded: those that the warehouse accepted, all as long as it has said nothing else.
    pub fn refunded_quantity(&self) -> i32 {
        self.accepted_quantity.unwrap_or(self.quantity)
    }
}

/// One line of a return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReturnItemDocument {
    pub id: Uuid,
    pub order_item_id: Uuid,
    #[schema(value_type = String, max_length = 64)]
    pub sku: Sku,
    pub title: String,
    /// Units that are to be returned. 0 when only shipping is refunded, for units that were returned before.
    pub quantity: i32,
    /// Of these, units that the warehouse received and accepted. Only accepted units are refunded. Absent before the receipt,
    /// and when all were accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_quantity: Option<i32>,
    /// Units that the warehouse received and did not accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_quantity: Option<i32>,
    /// Units that were not in the parcel. They can be requested again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_quantity: Option<i32>,
    /// Why units were not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection_reason: Option<String>,
    /// Harmonised System of Nomenclature code, as it was sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 16)]
    pub hsn: Option<Hsn>,
    /// Per cent, as it was sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    /// The refund of these units, with the tax and the refunded shipping, less their share of the fees: an estimate until the return
    /// is `COMPLETED`.
    pub amount_minor: i64,
    /// The tax in the refund of the goods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxDocument>,
    /// The refunded shipping, with the tax. Part of `amount_minor`.
    #[serde(default)]
    pub shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_tax: Option<TaxDocument>,
    /// The share of the fees, which is not part of `amount_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<PartDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
