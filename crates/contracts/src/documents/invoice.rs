//! An invoice.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::e_invoice::{EInvoiceDocument, EditionDocument};
use super::tax::TaxSummaryDocument;
use crate::Email;
use crate::values::{CustomerId, OrderNumber};

const fn first_edition() -> i32 {
    1
}

/// The invoice of an order: the snapshot of `invoice.generated` and `invoice.registered`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceDocument {
    pub id: Uuid,
    pub order_id: Uuid,
    #[schema(value_type = String, max_length = 32)]
    pub order_number: OrderNumber,
    /// Consecutive in its financial year, e.g. `AC/26-27/0000001`.
    pub invoice_number: String,
    #[schema(value_type = String, max_length = 64)]
    pub customer_id: CustomerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub customer_email: Option<Email>,
    pub currency: String,
    pub total_minor: i64,
    /// File name inside the invoice store.
    pub path: String,
    pub size_bytes: i64,
    /// Lower-case hexadecimal SHA-256 of the PDF.
    pub sha256: String,
    /// 1, and one more with every registration that is printed on it. The number stays.
    #[serde(default = "first_edition")]
    pub edition: i32,
    /// Oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_editions: Vec<EditionDocument>,
    /// Whether it is e-mailed only once it is registered at the portal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mailed_when_registered: bool,
    /// What the portal answered, once it is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e_invoice: Option<EInvoiceDocument>,
    pub issued_at: DateTime<Utc>,
    pub generated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
    /// Whether what it prints was erased, and its PDF removed: the law asks for it no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
    /// Absent when the supplier is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxSummaryDocument>,
}
