//! What a document is called, and what it must say besides: rules 46, 46A and 49 of the CGST Rules.

use contracts::{OrderDocument, TaxTermsDocument};

/// What a document is called on which nothing is taxed.
pub(crate) const BILL_OF_SUPPLY: &str = "Bill of Supply";

/// The title of an order's invoice. Of a registered shop:
///
/// - it is zero-rated: a tax invoice, also under a letter of undertaking (section 16 of the IGST Act);
/// - nothing on it is taxed: a bill of supply (section 31 (3) (c), rule 49);
/// - taxed and exempt goods for a buyer who is not registered: one document for both (rule 46A);
/// - otherwise a tax invoice (rule 46).
pub(crate) fn invoice_title(order: &OrderDocument) -> &'static str {
    if order.tax_terms.is_none() {
        return "Invoice";
    }
    let is_taxed = |rate: Option<f64>| rate.is_some_and(|rate| rate > 0.0);
    let taxed = order.items.iter().filter(|item| is_taxed(item.gst_rate)).count();
    match taxed {
        _ if order.tax_terms.as_ref().is_some_and(TaxTermsDocument::is_zero_rated) => "Tax Invoice",
        0 => BILL_OF_SUPPLY,
        taxed if taxed < order.items.len() && order.recipient_gstin().is_none() => "Invoice-cum-Bill of Supply",
        _ => "Tax Invoice",
    }
}

/// What the invoice of a zero-rated supply is endorsed with: the third proviso to rule 46.
pub(crate) fn endorsement(order: &OrderDocument) -> Option<String> {
    let terms = order.tax_terms.as_ref().filter(|terms| terms.is_zero_rated())?;
    let meant_for = if terms.sez {
        "SUPPLY TO SEZ UNIT OR SEZ DEVELOPER FOR AUTHORISED OPERATIONS"
    } else {
        "SUPPLY MEANT FOR EXPORT"
    };
    let without_tax = "UNDER BOND OR LETTER OF UNDERTAKING WITHOUT PAYMENT OF INTEGRATED TAX";
    Some(match &terms.lut_reference {
        Some(reference) => format!("{meant_for} {without_tax} (LUT {reference})"),
        None => format!("{meant_for} ON PAYMENT OF INTEGRATED TAX"),
    })
}
