//! The registration of an invoice at an invoice registration portal (IRP).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::series::{day_in_india, financial_year};

/// What the portal answered when the invoice was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EInvoiceDocument {
    /// Invoice reference number: 64 hexadecimal digits.
    pub irn: String,
    /// The portal's acknowledgement (`AckNo`).
    pub acknowledgement_number: String,
    /// `AckDt`.
    pub acknowledged_at: DateTime<Utc>,
    /// The signed QR code (`SignedQRCode`): a JSON Web Token.
    pub signed_qr_code: String,
}

/// An edition of an invoice that a later one has replaced. Its PDF is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EditionDocument {
    /// 1 for the first.
    pub edition: i32,
    /// File name inside the invoice store.
    pub path: String,
    pub size_bytes: i64,
    /// Lower-case hexadecimal SHA-256 of the PDF.
    pub sha256: String,
    pub generated_at: DateTime<Utc>,
}

/// The IRN of an invoice, as the portal computes it: SHA-256 of supplier, financial year, kind and number.
pub fn irn(supplier_gstin: &str, issued_at: DateTime<Utc>, kind: &str, number: &str) -> String {
    let year = financial_year(day_in_india(issued_at));
    format!("{:x}", Sha256::digest(format!("{supplier_gstin}20{year}{kind}{number}")))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::*;

    /// The example of <https://www.gstzen.in/a/e-invoice-reference-number.html>.
    #[test]
    fn the_irn_is_the_portal_s() {
        let issued_at = Utc.with_ymd_and_hms(2020, 2, 1, 6, 0, 0).single().expect("a time");
        assert_eq!(
            irn("29AAFCC9980M1ZR", issued_at, "INV", "2019-20/KA/1"),
            "23f498ee41441ecad30f72ba5b9907506c3df70a17b0e0dff46b76a786400662"
        );
    }
}
