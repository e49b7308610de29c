//! The registration of an order's invoice at an invoice registration portal (IRP): what the portal answered is a fact of the order.
//!
//! The signed QR code says which document was registered, so an answer that belongs to another document is refused. Its signature is
//! the portal's affair: a scanner of the printed code checks it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use contracts::{EInvoiceDocument, EntityType, OrderDocument, OrderState, TaxTermsDocument, day_in_india, irn};
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use serde_json::json;

use crate::order_books::OrderBooks;
use crate::store::InvoiceNumber;
use crate::transition::conflicting_fact;

/// The portal accepts totals that are off by a rupee, so its code may say another total by as much.
const TOLERANCE_MINOR: f64 = 100.0;
/// The clocks of the portal and of the shop may differ by as much.
const CLOCKS: Duration = Duration::minutes(10);

/// The answer of the portal, and whether it replaces an earlier one.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) document: EInvoiceDocument,
    pub(crate) corrects: bool,
}

/// What the signed QR code says about the document, as far as it is compared.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QrCode {
    seller_gstin: String,
    buyer_gstin: String,
    doc_no: String,
    doc_typ: String,
    doc_dt: String,
    tot_inv_val: f64,
    irn: String,
}

/// The token's payload: the QR code's JSON as text.
#[derive(Deserialize)]
struct Payload {
    data: String,
}

impl QrCode {
    /// `None`: it is none of the portal's.
    fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if signature.is_empty() || parts.next().is_some() {
            return None;
        }
        let payload: Payload = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        serde_json::from_str(&payload.data).ok()
    }
}

impl Registration {
    /// What is to be stored. `None`: it is stored already. `invoice` is the number of the order's invoice, once it has one.
    ///
    /// # Errors
    /// 409 where the order has no invoice that is registered, or another answer is stored; 422 for the answer to another document.
    pub(crate) fn changes(
        &self,
        books: &OrderBooks,
        invoice: Option<&InvoiceNumber>,
        now: DateTime<Utc>,
    ) -> Result<Option<&EInvoiceDocument>, ApiError> {
        let order = &books.order;
        let Some(invoice) = invoice else {
            let message = format!(
                "the order is {}, and its invoice is not made yet; a registration is entered once it is {} and has its invoice",
                books.state,
                OrderState::Shipped
            );
            return Err(ApiError::conflict("INVOICE_NOT_ISSUED", message)
                .with_details(json!({ "entity": EntityType::Order.as_str(), "current_state": books.state.as_str() })));
        };
        let Some(terms) = order.tax_terms.as_ref().filter(|_| order.is_for_the_portal()) else {
            let message =
                "the invoice of this order is not registered: only supplies to registered buyers and exports are";
            return Err(ApiError::conflict("NOT_AN_E_INVOICE", message));
        };
        match (&order.e_invoice, self.corrects) {
            (Some(stored), _) if *stored == self.document => return Ok(None),
            (Some(stored), false) => {
                let message = format!("the invoice is registered already, as {}; PATCH corrects it", stored.irn);
                let (stored, given) = (json!(stored.irn), json!(self.document.irn));
                return Err(conflicting_fact("e_invoice", &stored, &given, message));
            }
            (None, true) => {
                let message = "the invoice has no registration to correct; POST /orders/{id}/e-invoice enters it";
                return Err(ApiError::conflict("FACT_NOT_RECORDED", message)
                    .with_details(json!({ "fact": "e_invoice", "current_state": books.state.as_str() })));
            }
            _ => {}
        }
        self.check(order, terms, invoice, now)?;
        Ok(Some(&self.document))
    }

    fn check(
        &self,
        order: &OrderDocument,
        terms: &TaxTermsDocument,
        invoice: &InvoiceNumber,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        let mut errors = FieldErrors::default();
        let InvoiceNumber { number, issued_at, .. } = invoice;
        let Some(code) = QrCode::read(&self.document.signed_qr_code) else {
            errors.add("signed_qr_code", "must be the portal's SignedQRCode: a JSON Web Token");
            return errors.finish();
        };
        let expected = irn(&terms.supplier_gstin, *issued_at, "INV", number);
        if self.document.irn != expected {
            errors.add("irn", format!("is not the IRN of the invoice {number}, which is {expected}"));
        }
        let day = day_in_india(*issued_at).format("%d/%m/%Y").to_string();
        let buyer = order.recipient_gstin().filter(|_| !terms.is_export()).unwrap_or(UNREGISTERED);
        for (member, said, ours) in [
            ("Irn", &code.irn, expected.as_str()),
            ("SellerGstin", &code.seller_gstin, &terms.supplier_gstin),
            ("BuyerGstin", &code.buyer_gstin, buyer),
            ("DocTyp", &code.doc_typ, "INV"),
            ("DocNo", &code.doc_no, number),
            ("DocDt", &code.doc_dt, &day),
        ] {
            if said != ours {
                errors.add(
                    "signed_qr_code",
                    format!("is of another document: its {member} is {said:?}, and ours {ours:?}"),
                );
            }
        }
        let total = order.clone().invoiced().total_minor;
        #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53 paise")]
        let off_by = (code.tot_inv_val * 100.0 - total as f64).abs();
        if off_by > TOLERANCE_MINOR {
            let message =
                format!("is of another document: its TotInvVal is {}, and our total {total} paise", code.tot_inv_val);
            errors.add("signed_qr_code", message);
        }
        let at = self.document.acknowledged_at;
        if day_in_india(at) < day_in_india(*issued_at) || at > now + CLOCKS {
            errors.add("acknowledged_at", "must be between the day of the invoice and now");
        }
        errors.finish()
    }
}

/// What the portal calls a buyer without a GSTIN.
const UNREGISTERED: &str = "URP";
