//! Orders, returns, invoices and refunds as clients and events see them.
//!
//! These are documents, not models: they are written by the side that decides and only read elsewhere.
//! Fields are only ever added; a reader must ignore what it does not know.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{OrderState, ReturnState, Supply};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{named, schema};

macro_rules! names {
    ($type:ty { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in JSON, in the database and in messages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The inverse of `as_str`; `None` for a name this version does not know.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// What an audit row or an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityType {
    Order,
    Return,
    Invoice,
    CreditNote,
    Refund,
}

names!(EntityType {
    Order => "order", Return => "return", Invoice => "invoice", CreditNote => "credit_note", Refund => "refund",
});

/// Who acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ActorType {
    User,
    System,
}

names!(ActorType { User => "USER", System => "SYSTEM" });

/// What set a change off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trigger {
    ApiCall,
    BackgroundJob,
    Scheduler,
    Ops,
}

names!(Trigger { ApiCall => "API_CALL", BackgroundJob => "BACKGROUND_JOB", Scheduler => "SCHEDULER", Ops => "OPS" });

/// One row of the audit, as events carry it and `/history` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    pub entity_type: EntityType,
    pub entity_id: Uuid,
    /// The entity's version after the change.
    pub version: i32,
    /// Null at creation.
    pub from_state: Option<String>,
    pub to_state: String,
    pub actor: String,
    pub actor_type: ActorType,
    pub trigger: Trigger,
    pub reason: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Value,
    pub ip_address: Option<String>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    pub created_at: DateTime<Utc>,
}

/// A postal address. Every field is optional text of at most 255 characters; fields that are not named here
/// are kept as they come, and shown after the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, alias = "street", alias = "address_line1", skip_serializing_if = "Option::is_none")]
    pub line1: Option<String>,
    #[serde(default, alias = "address_line2", skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, alias = "zip", alias = "pincode", alias = "pin_code", skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gstin: Option<String>,
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

/// An order, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderDocument {
    /// `UUIDv7`.
    pub id: Uuid,
    pub order_number: String,
    #[serde(with = "named")]
    #[schema(value_type = schema::OrderState)]
    pub state: OrderState,
    /// 1 at creation, one more with every transition; also the `ETag`.
    pub version: i32,
    pub customer_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
    /// ISO 4217; amounts are in its minor unit.
    pub currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_address: Option<Address>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_address: Option<Address>,
    pub items: Vec<OrderItemDocument>,
    /// Sum of quantity × unit price.
    pub subtotal_minor: i64,
    pub discount_minor: i64,
    pub shipping_minor: i64,
    /// The GST in the total.
    #[serde(default)]
    pub tax_minor: i64,
    /// subtotal − discount + shipping, and the tax where prices do not include it. The sum of what is paid for the items and
    /// for their shares of the shipping.
    pub total_minor: i64,
    /// Absent when no GST is charged, because the supplier is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_terms: Option<TaxTermsDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_transaction_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Only on the query side, once the PDF is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<InvoiceDocument>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderItemDocument {
    /// `UUIDv7`; what a return refers to.
    pub id: Uuid,
    /// 1..500, in the order of the request.
    pub line_no: i32,
    pub sku: String,
    pub title: String,
    pub quantity: i32,
    pub unit_price_minor: i64,
    /// Harmonised System of Nomenclature code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsn: Option<String>,
    /// Per cent; where the request gave none, that of the HSN code on the day of the order, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    /// The line's share of the order's discount.
    pub discount_minor: i64,
    /// What is paid for the goods, with the tax: what a full return of the line refunds, shipping aside.
    pub paid_minor: i64,
    /// The tax in `paid_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxDocument>,
    /// What is paid for the line's share of the shipping, with the tax.
    #[serde(default)]
    pub shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_tax: Option<TaxDocument>,
}

/// The GST in an amount, to the paisa: amount = taxable + cgst + sgst + igst + round-off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaxDocument {
    pub taxable_minor: i64,
    #[serde(default)]
    pub cgst_minor: i64,
    #[serde(default)]
    pub sgst_minor: i64,
    #[serde(default)]
    pub igst_minor: i64,
    /// What no exact split accounts for where prices include the tax; may be below zero.
    #[serde(default)]
    pub round_off_minor: i64,
}

/// How an order is taxed; fixed when it is placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaxTermsDocument {
    pub supplier_gstin: String,
    /// Code and name, `29 Karnataka`.
    pub supplier_state: String,
    #[serde(with = "named")]
    #[schema(value_type = schema::Supply)]
    pub supply: Supply,
    /// Code and name of a state, `29 Karnataka`; `96 Outside India` for another country.
    pub place_of_supply: String,
    pub prices_include_tax: bool,
}

/// A return, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReturnDocument {
    /// `UUIDv7`.
    pub id: Uuid,
    pub order_id: Uuid,
    pub order_number: String,
    #[serde(with = "named")]
    #[schema(value_type = schema::ReturnState)]
    pub state: ReturnState,
    /// 1 at creation, one more with every transition; also the `ETag`.
    pub version: i32,
    pub customer_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
    pub currency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub items: Vec<ReturnItemDocument>,
    /// Exactly the sum of the items' amounts; fixed when the return is requested.
    pub refund_amount_minor: i64,
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
    /// Only on the query side, once a refund has been initiated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<RefundDocument>,
    /// Only on the query side, once the PDF is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_note: Option<CreditNoteDocument>,
}

/// One line of a return.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReturnItemDocument {
    pub id: Uuid,
    pub order_item_id: Uuid,
    pub sku: String,
    pub title: String,
    /// Units that come back; 0 where only the shipping of units that came back before is given back.
    pub quantity: i32,
    /// Harmonised System of Nomenclature code, as it was sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsn: Option<String>,
    /// Per cent, as it was sold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    /// The exact refund of these units, with the tax and what is given back of the shipping.
    pub amount_minor: i64,
    /// The tax in what is given back for the goods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxDocument>,
    /// What is given back of the shipping, with the tax; part of `amount_minor`.
    #[serde(default)]
    pub shipping_minor: i64,
    /// The tax in `shipping_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_tax: Option<TaxDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Everything that a tax return reports of an invoice or a credit note, so that no other document is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaxSummaryDocument {
    #[serde(flatten)]
    pub terms: TaxTermsDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_name: Option<String>,
    /// Of a registered recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_gstin: Option<String>,
    /// By HSN code and rate; together they are the document's total.
    pub lines: Vec<TaxSummaryLine>,
}

/// Goods of one HSN code and one rate, with their shipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaxSummaryLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsn: Option<String>,
    /// Per cent; absent where nothing is taxed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gst_rate: Option<f64>,
    pub quantity: i64,
    /// With the tax.
    pub total_minor: i64,
    #[serde(flatten)]
    pub tax: TaxDocument,
}

/// The invoice of an order: the snapshot of `invoice.generated`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceDocument {
    pub id: Uuid,
    pub order_id: Uuid,
    pub order_number: String,
    /// Consecutive in its financial year, e.g. `AC/26-27/000001`.
    pub invoice_number: String,
    pub customer_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
    pub currency: String,
    pub total_minor: i64,
    /// File name inside the invoice store.
    pub path: String,
    pub size_bytes: i64,
    /// Lower-case hexadecimal SHA-256 of the PDF.
    pub sha256: String,
    pub issued_at: DateTime<Utc>,
    pub generated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    /// Absent when the supplier is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxSummaryDocument>,
}

/// The credit note of a return: the snapshot of `credit_note.generated`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreditNoteDocument {
    pub id: Uuid,
    pub return_id: Uuid,
    pub order_id: Uuid,
    pub order_number: String,
    /// Consecutive in its financial year, e.g. `CN/26-27/000001`.
    pub credit_note_number: String,
    /// Of the invoice that it corrects.
    pub invoice_number: String,
    /// When that was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoiced_at: Option<DateTime<Utc>>,
    pub customer_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
    pub currency: String,
    /// What is given back.
    pub total_minor: i64,
    /// File name inside the invoice store.
    pub path: String,
    pub size_bytes: i64,
    /// Lower-case hexadecimal SHA-256 of the PDF.
    pub sha256: String,
    pub issued_at: DateTime<Utc>,
    pub generated_at: DateTime<Utc>,
    /// Absent when the supplier is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxSummaryDocument>,
}

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
    pub order_number: String,
    pub customer_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
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
