//! The tax of a document by HSN code and rate, shipping included: printed on it, and reported in the tax return.

use std::collections::BTreeMap;

use contracts::{OrderDocument, SupplierDocument, TaxDocument, TaxSummaryDocument, TaxSummaryLine};

use super::credited::Credited;
use super::layout::Brand;
use super::line::Line;

/// The tax summary of an order's invoice; `None` when the shop is not registered.
pub(crate) fn tax_of_order(order: &OrderDocument, brand: &Brand) -> Option<TaxSummaryDocument> {
    summary(order, brand, order.items.iter().map(Line::from))
}

/// The tax summary of a credit note, under the terms of its order.
pub(crate) fn tax_of_credit(order: &OrderDocument, credited: &Credited, brand: &Brand) -> Option<TaxSummaryDocument> {
    summary(order, brand, credited.lines().into_iter())
}

fn summary<'a>(
    order: &OrderDocument,
    brand: &Brand,
    lines: impl Iterator<Item = Line<'a>>,
) -> Option<TaxSummaryDocument> {
    let recipient = order.billing_address.as_ref().or(order.shipping_address.as_ref());
    Some(TaxSummaryDocument {
        terms: order.tax_terms.clone()?,
        recipient_name: recipient.and_then(|address| address.name.clone()),
        recipient_gstin: order.recipient_gstin().map(str::to_owned),
        supplier: Some(SupplierDocument {
            name: brand.legal_name.clone(),
            address: brand.address.clone(),
            city: brand.city.clone(),
            postal_code: brand.postal_code.clone(),
        }),
        lines: by_hsn_and_rate(&lines.collect::<Vec<_>>()),
    })
}

/// Sorted by HSN code. What is not taxed has no rate.
pub(super) fn by_hsn_and_rate(lines: &[Line<'_>]) -> Vec<TaxSummaryLine> {
    let mut rows = BTreeMap::new();
    for line in lines {
        // A line with a rate but without tax is from a shop that is not registered.
        let gst_rate = line.rate.filter(|_| line.tax.is_some() || line.shipping_tax.is_some());
        #[expect(clippy::cast_possible_truncation, reason = "a percentage with three decimals")]
        let thousandths = gst_rate.map(|rate| (rate * 1_000.0).round() as i64);
        let row = rows.entry((line.hsn, thousandths)).or_insert_with(|| TaxSummaryLine {
            hsn: line.hsn.cloned(),
            gst_rate,
            quantity: 0,
            total_minor: 0,
            tax: TaxDocument::default(),
        });
        row.quantity += i64::from(line.quantity);
        row.total_minor += line.goods + line.shipping;
        for tax in [line.tax, line.shipping_tax].into_iter().flatten() {
            row.tax = row.tax.plus(&tax);
        }
    }
    rows.into_values().collect()
}

pub(super) fn sum(lines: &[TaxSummaryLine]) -> TaxDocument {
    lines.iter().fold(TaxDocument::default(), |sum, line| sum.plus(&line.tax))
}
