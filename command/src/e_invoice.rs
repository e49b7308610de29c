//! The registration of an order's invoice at an invoice registration portal (IRP): what the portal answered is a fact of the order.
//!
//! The signed QR code says which document was registered, so an answer that belongs to another document is refused. Its signature is
//! the portal's affair: a scanner of the printed code checks it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{NaiveDate, NaiveTime};
use contracts::{EInvoiceDocument, EntityType, OrderState, TaxTermsDocument, india, irn};
use runtime::{ApiError, FieldErrors};
use serde::Deserialize;
use serde_json::json;

use crate::order_books::OrderBooks;
use crate::transition::{conflicting_fact, no_such_fact};

/// The portal accepts totals that are off by as much.
const TOLERANCE_MINOR: f64 = 100.0;

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

    /// The IRN of the document that it names.
    fn computed_irn(&self) -> Option<String> {
        let day = NaiveDate::parse_from_str(&self.doc_dt, "%d/%m/%Y").ok()?;
        let at = day.and_time(NaiveTime::MIN).and_local_timezone(india()).single()?;
        Some(irn(&self.seller_gstin, at.to_utc(), &self.doc_typ, &self.doc_no))
    }
}

impl Registration {
    /// What is to be stored. `None`: it is stored already.
    ///
    /// # Errors
    /// 409 where the order has no invoice that is registered, or another answer is stored; 422 for the answer to another document.
    pub(crate) fn changes(&self, books: &OrderBooks) -> Result<Option<&EInvoiceDocument>, ApiError> {
        let order = &books.order;
        if order.shipped_at.is_none() {
            let (state, shipped) = (books.state.as_str(), OrderState::Shipped.as_str());
            return Err(no_such_fact(EntityType::Order, state, "e_invoice", shipped));
        }
        let addresses = [&order.billing_address, &order.shipping_address];
        let is_registered = addresses.into_iter().flatten().any(|address| address.gstin.is_some());
        let Some(terms) = order.tax_terms.as_ref().filter(|terms| is_registered || terms.is_export()) else {
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
        self.check(terms, order.clone().invoiced().total_minor)?;
        Ok(Some(&self.document))
    }

    fn check(&self, terms: &TaxTermsDocument, total_minor: i64) -> Result<(), ApiError> {
        let mut errors = FieldErrors::default();
        match QrCode::read(&self.document.signed_qr_code) {
            None => errors.add("signed_qr_code", "must be the portal's SignedQRCode: a JSON Web Token"),
            Some(code) => {
                if code.irn != self.document.irn || code.computed_irn().as_ref() != Some(&code.irn) {
                    errors.add("irn", "is not the IRN of the document in signed_qr_code");
                }
                #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53 paise")]
                let off_by = (code.tot_inv_val * 100.0 - total_minor as f64).abs();
                if code.doc_typ != "INV" || code.seller_gstin != terms.supplier_gstin || off_by > TOLERANCE_MINOR {
                    let message = "is of another document: kind, supplier or total are not those of this invoice";
                    errors.add("signed_qr_code", message);
                }
            }
        }
        errors.finish()
    }
}
