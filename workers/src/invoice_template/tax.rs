//! What a tax invoice shows beyond an invoice: rule 46 of the CGST Rules.

use std::collections::BTreeMap;

use contracts::{OrderDocument, OrderItemDocument, Supply, TaxDocument};
use maud::{Markup, html};

use super::amount::money;
use super::words::rupees_in_words;
use super::{Brand, total_row};

/// A table of goods with the tax on each, of so many columns; the closing words are its last row.
pub(super) const COLUMNS: u8 = 7;

pub(super) fn head() -> Markup {
    html! {
        tr {
            th.line { "#" }
            th { "Item" }
            th.number { "Qty" }
            th.number { "Price" }
            th.number { "Taxable" }
            th.number { "GST" }
            th.number { "Amount" }
        }
    }
}

pub(super) fn item_row(item: &OrderItemDocument, currency: &str) -> Markup {
    let money = |minor| money(minor, currency);
    let taxable = item.tax.map_or(item.paid_minor, |tax| tax.taxable_minor);
    html! {
        tr {
            td.line { (item.line_no) }
            td {
                p.title dir="auto" { (item.title) }
                p.codes {
                    "SKU " (item.sku)
                    @if let Some(hsn) = &item.hsn { span { "HSN " (hsn) } }
                    @if item.discount_minor > 0 { span { "Less " (money(item.discount_minor)) } }
                }
            }
            td.number { (item.quantity) }
            td.number { (money(item.unit_price_minor)) }
            td.number { (money(taxable)) }
            td.number {
                @match (item.tax, item.gst_rate) {
                    (Some(tax), Some(rate)) => { (money(total(&tax))) p.codes { (rate) " %" } },
                    _ => "–",
                }
            }
            td.number { (money(item.paid_minor)) }
        }
    }
}

/// Shipping bears the tax of the goods that it brings.
pub(super) fn shipping_row(order: &OrderDocument) -> Markup {
    let money = |minor| money(minor, &order.currency);
    let shipping: i64 = order.items.iter().map(|item| item.shipping_minor).sum();
    let tax: i64 = order.items.iter().filter_map(|item| item.shipping_tax.as_ref()).map(total).sum();
    let round_off: i64 = order.items.iter().filter_map(|item| item.shipping_tax).map(|tax| tax.round_off_minor).sum();
    html! {
        @if shipping > 0 {
            tr {
                td.line {}
                td { p.title { "Shipping" } }
                td.number {} td.number {}
                td.number { (money(shipping - tax - round_off)) }
                td.number { (money(tax)) }
                td.number { (money(shipping)) }
            }
        }
    }
}

pub(super) fn totals(order: &OrderDocument, supply: Supply) -> Markup {
    let row = |name: &str, amount: i64| total_row(COLUMNS, "sum", name, &money(amount, &order.currency));
    let summary = Summary::of(order);
    let sum = summary.sum();
    let untaxed = order.total_minor - sum.taxable_minor - total(&sum) - sum.round_off_minor;
    html! {
        (row("Taxable value", sum.taxable_minor))
        @if untaxed != 0 { (row("Not taxed", untaxed)) }
        @match supply {
            Supply::IntraState => { (row("CGST", sum.cgst_minor)) (row("SGST", sum.sgst_minor)) },
            Supply::InterState => (row("IGST", sum.igst_minor)),
        }
        @if sum.round_off_minor != 0 { (row("Round off", sum.round_off_minor)) }
        (total_row(COLUMNS, "total", "Total", &money(order.total_minor, &order.currency)))
    }
}

/// After the goods: the total in words, the summary by HSN code, and who signs.
pub(super) fn closing(order: &OrderDocument, supply: Supply, brand: &Brand) -> Markup {
    html! {
        @if order.currency == "INR" {
            p.spelt { span { "Total in words" } (capitalised(&rupees_in_words(order.total_minor))) " only" }
        }
        div.beside {
            (hsn_table(order, supply))
            div.signature {
                p { "For " (brand.legal_name) }
                p { "Authorised signatory" }
            }
        }
    }
}

fn hsn_table(order: &OrderDocument, supply: Supply) -> Markup {
    let summary = Summary::of(order);
    let money = |minor| money(minor, &order.currency);
    let taxes = |tax: &TaxDocument| match supply {
        Supply::IntraState => vec![tax.cgst_minor, tax.sgst_minor],
        Supply::InterState => vec![tax.igst_minor],
    };
    let names: &[&str] = match supply {
        Supply::IntraState => &["CGST", "SGST"],
        Supply::InterState => &["IGST"],
    };
    html! {
        table.items.hsn {
            thead {
                tr {
                    th { "HSN" }
                    th.number { "GST rate" }
                    th.number { "Taxable value" }
                    @for name in names { th.number { (name) } }
                    th.number { "Total tax" }
                }
            }
            tbody {
                @for ((hsn, _), (rate, tax)) in &summary.0 {
                    tr {
                        td { @if hsn.is_empty() { "–" } @else { (hsn) } }
                        td.number { (rate) " %" }
                        td.number { (money(tax.taxable_minor)) }
                        @for amount in taxes(tax) { td.number { (money(amount)) } }
                        td.number { (money(total(tax))) }
                    }
                }
            }
        }
    }
}

/// What is taxed, by HSN code and rate (in thousandths), the shipping among it.
struct Summary(BTreeMap<(String, i64), (f64, TaxDocument)>);

impl Summary {
    fn of(order: &OrderDocument) -> Self {
        let mut rows = BTreeMap::new();
        for item in &order.items {
            let Some(rate) = item.gst_rate else { continue };
            for tax in [item.tax, item.shipping_tax].into_iter().flatten() {
                #[expect(clippy::cast_possible_truncation, reason = "a percentage with three decimals")]
                let key = (item.hsn.clone().unwrap_or_default(), (rate * 1_000.0).round() as i64);
                let (_, sum): &mut (f64, TaxDocument) = rows.entry(key).or_insert((rate, TaxDocument::default()));
                *sum = plus(sum, &tax);
            }
        }
        Self(rows)
    }

    fn sum(&self) -> TaxDocument {
        self.0.values().fold(TaxDocument::default(), |sum, (_, tax)| plus(&sum, tax))
    }
}

const fn plus(one: &TaxDocument, other: &TaxDocument) -> TaxDocument {
    TaxDocument {
        taxable_minor: one.taxable_minor + other.taxable_minor,
        cgst_minor: one.cgst_minor + other.cgst_minor,
        sgst_minor: one.sgst_minor + other.sgst_minor,
        igst_minor: one.igst_minor + other.igst_minor,
        round_off_minor: one.round_off_minor + other.round_off_minor,
    }
}

const fn total(tax: &TaxDocument) -> i64 {
    tax.cgst_minor + tax.sgst_minor + tax.igst_minor
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
