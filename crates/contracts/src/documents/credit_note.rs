//! A credit note.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::tax::TaxSummaryDocument;
use crate::Email;
use crate::values::{CustomerId, OrderNumber};

/// The credit note of a return, or of money that was given back without one: the snapshot of `credit_note.generated`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreditNoteDocument {
    pub id: Uuid,
    /// The return, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_id: Option<Uuid>,
    /// The refund, where there is no return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<Uuid>,
    pub order_id: Uuid,
    #[schema(value_type = String, max_length = 32)]
    pub order_number: OrderNumber,
    /// Consecutive in its financial year, e.g. `CN/26-27/0000001`.
    pub credit_note_number: String,
    /// Of the invoice that it corrects.
    pub invoice_number: String,
    /// When that was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoiced_at: Option<DateTime<Utc>>,
    #[schema(value_type = String, max_length = 64)]
    pub customer_id: CustomerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 254)]
    pub customer_email: Option<Email>,
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
    /// Whether what it prints was erased, and its PDF removed: the law asks for it no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
    /// Absent when the supplier is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxSummaryDocument>,
}
