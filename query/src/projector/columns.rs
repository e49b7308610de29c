//! The members of a snapshot that have a column of their own in a read table. All other members are stored as text only.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use contracts::TaxSummaryDocument;
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
pub(super) struct OrderColumns<'a> {
    pub(super) id: Uuid,
    pub(super) version: i32,
    #[serde(borrow)]
    pub(super) order_number: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) customer_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    pub(super) subtotal_minor: i64,
    pub(super) discount_minor: i64,
    pub(super) shipping_minor: i64,
    #[serde(default)]
    pub(super) tax_minor: i64,
    pub(super) total_minor: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) customer_email: Option<Cow<'a, str>>,
    pub(super) payment_transaction_id: Option<Cow<'a, str>>,
    pub(super) tracking_number: Option<Cow<'a, str>>,
    pub(super) shipping_address: Option<AddressColumns<'a>>,
    pub(super) billing_address: Option<AddressColumns<'a>>,
    pub(super) paid_at: Option<DateTime<Utc>>,
    pub(super) processing_at: Option<DateTime<Utc>>,
    pub(super) shipped_at: Option<DateTime<Utc>>,
    pub(super) delivered_at: Option<DateTime<Utc>>,
    pub(super) cancelled_at: Option<DateTime<Utc>>,
    #[serde(borrow)]
    pub(super) items: Vec<ItemColumns<'a>>,
}

/// What an order is found by.
#[derive(Deserialize)]
pub(super) struct AddressColumns<'a> {
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) city: Option<Cow<'a, str>>,
    pub(super) postal_code: Option<Cow<'a, str>>,
    pub(super) phone: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct ItemColumns<'a> {
    pub(super) line_no: i32,
    #[serde(borrow)]
    pub(super) sku: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) title: Cow<'a, str>,
    pub(super) quantity: i32,
}

#[derive(Deserialize)]
pub(super) struct ReturnColumns<'a> {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) order_id: Uuid,
    #[serde(borrow)]
    pub(super) order_number: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) customer_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) refund_amount_minor: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) customer_email: Option<Cow<'a, str>>,
    pub(super) tracking_number: Option<Cow<'a, str>>,
    pub(super) approved_at: Option<DateTime<Utc>>,
    pub(super) rejected_at: Option<DateTime<Utc>>,
    pub(super) in_transit_at: Option<DateTime<Utc>>,
    pub(super) received_at: Option<DateTime<Utc>>,
    pub(super) completed_at: Option<DateTime<Utc>>,
    #[serde(borrow)]
    pub(super) items: Vec<ReturnItemColumns<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ReturnItemColumns<'a> {
    #[serde(borrow)]
    pub(super) sku: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) title: Cow<'a, str>,
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) quantity: i32,
    #[serde(default)]
    pub(super) missing_quantity: i32,
    pub(super) amount_minor: i64,
}

/// From an invoice or a credit note.
#[derive(Deserialize)]
pub(super) struct IssuedColumns<'a> {
    pub(super) id: Uuid,
    pub(super) order_id: Uuid,
    pub(super) return_id: Option<Uuid>,
    pub(super) refund_id: Option<Uuid>,
    #[serde(borrow)]
    pub(super) order_number: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) customer_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) invoice_number: Cow<'a, str>,
    pub(super) credit_note_number: Option<Cow<'a, str>>,
    pub(super) invoiced_at: Option<DateTime<Utc>>,
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    pub(super) total_minor: i64,
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sha256: Cow<'a, str>,
    pub(super) issued_at: DateTime<Utc>,
    pub(super) tax: Option<TaxSummaryDocument>,
}

impl IssuedColumns<'_> {
    /// Its own: a credit note names its invoice's, too.
    pub(super) fn number(&self) -> &str {
        self.credit_note_number.as_deref().unwrap_or(&self.invoice_number)
    }
}

#[derive(Deserialize)]
pub(super) struct RefundColumns<'a> {
    pub(super) id: Uuid,
    pub(super) version: i32,
    pub(super) order_id: Uuid,
    pub(super) return_id: Option<Uuid>,
    #[serde(borrow)]
    pub(super) customer_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    pub(super) amount_minor: i64,
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) order_number: Cow<'a, str>,
    pub(super) customer_email: Option<Cow<'a, str>>,
    pub(super) payment_transaction_id: Option<Cow<'a, str>>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) processed_at: Option<DateTime<Utc>>,
}
