//! INV-01, version 1.1, from an order and its invoice or credit note.

use chrono::{DateTime, Utc};
use contracts::{
    CreditNoteDocument, Email, IndianState, OrderDocument, TaxDocument, TaxSummaryDocument, country_code, day_in_india,
};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::line::{Line, item, totals};
use super::party::{lines_of, party, pin, put, telephone};

const VERSION: &str = "1.1";
/// The portal's code for a place outside India.
const ABROAD: &str = "96";
/// The portal's code for a buyer without a GSTIN.
const UNREGISTERED: &str = "URP";

/// A document that is registered, as the portal takes it.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) number: String,
    pub(super) file: Value,
}

/// Why a document is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum NotRegistered {
    #[error("the document has not been issued yet")]
    NotIssued,
    #[error(
        "the document has no GST: the shop was not registered when it was issued, or the note came too late to reduce the tax"
    )]
    NotTaxed,
    #[error("the buyer is not registered: only supplies to registered buyers and exports are registered at the portal")]
    Consumer,
    #[error("the document is a bill of supply, because nothing on it is taxed: it is not registered")]
    BillOfSupply,
}

impl NotRegistered {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::NotIssued => "NOT_ISSUED",
            Self::NotTaxed => "NOT_TAXED",
            Self::Consumer => "BUYER_NOT_REGISTERED",
            Self::BillOfSupply => "BILL_OF_SUPPLY",
        }
    }
}

/// What the document says besides its lines.
struct Heading<'a> {
    kind: &'static str,
    number: &'a str,
    issued_at: DateTime<Utc>,
    tax: Option<&'a TaxSummaryDocument>,
    total_minor: i64,
    /// Number and date of the invoice that a note corrects.
    corrects: Option<(&'a str, DateTime<Utc>)>,
}

/// The invoice of an order.
pub(super) fn of_invoice(order: &OrderDocument) -> Result<Issued, NotRegistered> {
    let invoice = order.invoice.as_ref().ok_or(NotRegistered::NotIssued)?;
    let invoiced = order.clone().invoiced();
    let heading = Heading {
        kind: "INV",
        number: &invoice.invoice_number,
        issued_at: invoice.issued_at,
        tax: invoice.tax.as_ref(),
        total_minor: invoice.total_minor,
        corrects: None,
    };
    file(&invoiced, &heading, &invoiced.items.iter().map(Line::from).collect::<Vec<_>>())
}

/// A credit note of this order.
pub(super) fn of_credit_note(
    order: &OrderDocument,
    note: Option<&CreditNoteDocument>,
    lines: Vec<Line<'_>>,
) -> Result<Issued, NotRegistered> {
    let note = note.ok_or(NotRegistered::NotIssued)?;
    let heading = Heading {
        kind: "CRN",
        number: &note.credit_note_number,
        issued_at: note.issued_at,
        tax: note.tax.as_ref(),
        total_minor: note.total_minor,
        corrects: note.invoiced_at.map(|at| (note.invoice_number.as_str(), at)),
    };
    let lines: Vec<_> = lines.into_iter().filter(|line| line.tax != TaxDocument::default()).collect();
    file(order, &heading, &lines)
}

fn file(order: &OrderDocument, heading: &Heading<'_>, lines: &[Line<'_>]) -> Result<Issued, NotRegistered> {
    let tax = heading.tax.ok_or(NotRegistered::NotTaxed)?;
    let terms = &tax.terms;
    if tax.recipient_gstin.is_none() && !terms.is_export() {
        return Err(NotRegistered::Consumer);
    }
    let is_invoice = heading.corrects.is_none();
    if is_invoice && !terms.is_zero_rated() && lines.iter().all(|line| line.gst_rate.is_none_or(|rate| rate <= 0.0)) {
        return Err(NotRegistered::BillOfSupply);
    }
    let without_tax = terms.lut_reference.is_some();
    let supply_type = match (terms.sez, terms.is_export()) {
        (true, _) => {
            if without_tax {
                "SEZWOP"
            } else {
                "SEZWP"
            }
        }
        (_, true) => {
            if without_tax {
                "EXPWOP"
            } else {
                "EXPWP"
            }
        }
        _ => "B2B",
    };
    let mut file = json!({
        "Version": VERSION,
        "TranDtls": { "TaxSch": "GST", "SupTyp": supply_type, "RegRev": "N", "IgstOnIntra": "N" },
        "DocDtls": { "Typ": heading.kind, "No": heading.number, "Dt": date(heading.issued_at) },
        "SellerDtls": seller(tax),
        "BuyerDtls": buyer(order, tax),
        "ItemList": (1..).zip(lines).map(|(number, line)| item(number, line)).collect::<Vec<_>>(),
        "ValDtls": totals(lines, heading.total_minor),
    });
    if let Some(consignee) = consignee(order) {
        file["ShipDtls"] = consignee;
    }
    if let Some((number, at)) = heading.corrects {
        file["RefDtls"] = json!({ "PrecDocDtls": [{ "InvNo": number, "InvDt": date(at) }] });
    }
    if let (true, Some(country)) = (terms.is_export(), country(order)) {
        file["ExpDtls"] = json!({ "CntCode": country });
    }
    Ok(Issued { number: heading.number.to_owned(), file })
}

fn seller(tax: &TaxSummaryDocument) -> Value {
    let mut seller = Map::new();
    seller.insert("Gstin".to_owned(), json!(tax.terms.supplier_gstin));
    seller.insert("Stcd".to_owned(), json!(code(&tax.terms.supplier_state)));
    if let Some(supplier) = &tax.supplier {
        put(&mut seller, "LglNm", Some(&supplier.name), 3, 100);
        lines_of(&mut seller, &supplier.address.split(';').map(Some).collect::<Vec<_>>());
        put(&mut seller, "Loc", supplier.city.as_deref(), 3, 50);
        pin(&mut seller, supplier.postal_code.as_deref());
    }
    Value::Object(seller)
}

fn buyer(order: &OrderDocument, tax: &TaxSummaryDocument) -> Value {
    let address = order.billing_address.as_ref().or(order.shipping_address.as_ref());
    let abroad = tax.terms.is_export();
    let mut buyer = Map::new();
    let gstin = tax.recipient_gstin.as_deref().filter(|_| !abroad);
    buyer.insert("Gstin".to_owned(), json!(gstin.unwrap_or(UNREGISTERED)));
    buyer.insert("Pos".to_owned(), json!(code(&tax.terms.place_of_supply)));
    // The buyer's state is the one that the number begins with.
    let state = gstin.map_or_else(|| code(&tax.terms.place_of_supply), code);
    buyer.insert("Stcd".to_owned(), json!(if abroad { ABROAD } else { state }));
    if let Some(address) = address {
        party(&mut buyer, address, abroad);
        put(&mut buyer, "Ph", address.phone.as_deref().and_then(telephone).as_deref(), 6, 12);
    }
    put(&mut buyer, "Em", order.customer_email.as_ref().map(Email::as_str), 6, 100);
    Value::Object(buyer)
}

/// Where the goods go, if that is not the buyer's address and is complete.
fn consignee(order: &OrderDocument) -> Option<Value> {
    let (billing, shipping) = (order.billing_address.as_ref()?, order.shipping_address.as_ref()?);
    if billing == shipping {
        return None;
    }
    let state = shipping.state.as_deref().and_then(IndianState::from_text);
    let state = state.or_else(|| shipping.postal_code.as_deref().and_then(IndianState::from_postal_code));
    let mut consignee = Map::new();
    put(&mut consignee, "Gstin", shipping.gstin.as_deref(), 15, 15);
    consignee.insert("Stcd".to_owned(), json!(format!("{:02}", state?.code)));
    party(&mut consignee, shipping, false);
    let is_complete = ["LglNm", "Addr1", "Loc", "Pin"].into_iter().all(|member| consignee.contains_key(member));
    is_complete.then_some(Value::Object(consignee))
}

/// The code of the country of destination.
fn country(order: &OrderDocument) -> Option<&'static str> {
    let address = order.shipping_address.as_ref().or(order.billing_address.as_ref())?;
    country_code(address.country.as_deref()?)
}

/// The two digits of a state, as in `29 Karnataka` or in a GSTIN.
fn code(text: &str) -> &str {
    text.get(..2).unwrap_or(text)
}

fn date(at: DateTime<Utc>) -> String {
    day_in_india(at).format("%d/%m/%Y").to_string()
}
