//! The table of goods with the tax on each line, and what follows it: rules 46 and 53 of the CGST Rules.

use contracts::{Hsn, OrderDocument, Supply, TaxDocument, TaxSummaryLine, TaxTermsDocument, money};
use maud::{Markup, html};

use super::credited::Credited;
use super::format::capitalised;
use super::layout::{Brand, total_row};
use super::line::Line;
use super::tax_summary;
use super::words::rupees_in_words;

/// Columns of the table. Two of them appear only where there is tax to show.
const COLUMNS: u8 = 7;
const COLUMNS_UNTAXED: u8 = 5;

/// All lines of a document, with their taxes.
#[derive(Debug)]
pub(crate) struct TaxTable<'a> {
    lines: Vec<Line<'a>>,
    currency: &'a str,
    /// `None`: the shop is not registered, and nothing is taxed.
    supply: Option<Supply>,
    /// What the state's half of the tax is called.
    state_tax: &'static str,
    total: i64,
    summary: Vec<TaxSummaryLine>,
}

impl<'a> TaxTable<'a> {
    /// What an invoice charges.
    pub(crate) fn of_order(order: &'a OrderDocument) -> Self {
        let lines = order.items.iter().map(Line::from).collect();
        Self::new(lines, &order.currency, order.tax_terms.as_ref(), order.total_minor)
    }

    /// What a credit note gives back, under the tax terms of the order.
    pub(crate) fn of_credit(order: &'a OrderDocument, credited: &'a Credited) -> Self {
        Self::new(credited.lines(), &order.currency, order.tax_terms.as_ref(), credited.total_minor())
    }

    fn new(lines: Vec<Line<'a>>, currency: &'a str, terms: Option<&TaxTermsDocument>, total: i64) -> Self {
        let summary = tax_summary::by_hsn_and_rate(&lines);
        let state_tax = terms.map_or("SGST", TaxTermsDocument::state_tax);
        Self { lines, currency, supply: terms.map(|terms| terms.supply), state_tax, total, summary }
    }

    const fn is_taxed(&self) -> bool {
        self.supply.is_some()
    }

    fn money(&self, minor: i64) -> String {
        money(minor, self.currency)
    }

    /// The last line, shipping and totals are one section. It never breaks, so the totals cannot stand alone on a page.
    pub(crate) fn table(&self) -> Markup {
        // A line that only refunds shipping is not a line of goods.
        let lines: Vec<_> = (1..).zip(self.lines.iter().filter(|line| line.quantity > 0 || line.goods > 0)).collect();
        let (last, others) =
            lines.split_last().map_or((&[][..], &[][..]), |(last, others)| (std::slice::from_ref(last), others));
        html! {
            table.items.taxed {
                thead {
                    tr {
                        th.line { "#" }
                        th { "Item" }
                        // Rule 46 asks for the unit: NOS is the unique quantity code of pieces.
                        th.number { @if self.is_taxed() { "Qty (NOS)" } @else { "Qty" } }
                        th.number { @if lines.iter().any(|(_, line)| line.price.is_some()) { "Price" } }
                        @if self.is_taxed() {
                            th.number { "Taxable" }
                            th.number { "GST" }
                        }
                        th.number { "Amount" }
                    }
                }
                tbody { @for (number, line) in others { (self.row(*number, line)) } }
                tbody.closing {
                    @for (number, line) in last { (self.row(*number, line)) }
                    (self.shipping_row())
                    (self.totals())
                }
            }
        }
    }

    fn row(&self, number: usize, line: &Line<'_>) -> Markup {
        html! {
            tr {
                td.line { (number) }
                td {
                    p.title dir="auto" { (line.title) }
                    p.codes {
                        "SKU " (line.sku)
                        @if let Some(hsn) = line.hsn { span { "HSN " (hsn) } }
                        @if line.discount > 0 { span { "Less " (self.money(line.discount)) } }
                    }
                }
                td.number { @if line.quantity > 0 { (line.quantity) } @else { "–" } }
                td.number { @if let Some(price) = line.price { (self.money(price)) } }
                @if self.is_taxed() {
                    td.number { (self.money(line.tax.map_or(line.goods, |tax| tax.taxable_minor))) }
                    td.number {
                        @match (line.tax, line.rate) {
                            (Some(tax), Some(rate)) => { (self.money(total(&tax))) p.codes { (rate) " %" } },
                            _ => "–",
                        }
                    }
                }
                td.number { (self.money(line.goods)) }
            }
        }
    }

    /// Shipping carries the tax of the goods that it delivers.
    fn shipping_row(&self) -> Markup {
        let shipping: i64 = self.lines.iter().map(|line| line.shipping).sum();
        let taxes = || self.lines.iter().filter_map(|line| line.shipping_tax);
        let tax: i64 = taxes().map(|tax| total(&tax)).sum();
        let round_off: i64 = taxes().map(|tax| tax.round_off_minor).sum();
        html! {
            @if shipping > 0 {
                tr {
                    td.line {}
                    td { p.title { "Shipping" } }
                    td.number {} td.number {}
                    @if self.is_taxed() {
                        td.number { (self.money(shipping - tax - round_off)) }
                        td.number { @if tax > 0 { (self.money(tax)) } @else { "–" } }
                    }
                    td.number { (self.money(shipping)) }
                }
            }
        }
    }

    fn totals(&self) -> Markup {
        let columns = if self.is_taxed() { COLUMNS } else { COLUMNS_UNTAXED };
        let row = |name: &str, amount: i64| total_row(columns, "sum", name, &self.money(amount));
        let sum = tax_summary::sum(&self.summary);
        let untaxed = self.total - sum.taxable_minor - total(&sum) - sum.round_off_minor;
        html! {
            @if let Some(supply) = self.supply {
                (row("Taxable value", sum.taxable_minor))
                @if untaxed != 0 { (row("Not taxed", untaxed)) }
                @match supply {
                    Supply::IntraState => { (row("CGST", sum.cgst_minor)) (row(self.state_tax, sum.sgst_minor)) },
                    Supply::InterState => (row("IGST", sum.igst_minor)),
                }
                @if sum.round_off_minor != 0 { (row("Round off", sum.round_off_minor)) }
            }
            (total_row(columns, "total", "Total", &self.money(self.total)))
        }
    }

    /// The total in words, the summary by HSN code, and the signature.
    pub(crate) fn closing(&self, brand: &Brand) -> Markup {
        html! {
            @if self.currency == "INR" {
                p.spelt { span { "Total in words" } (capitalised(&rupees_in_words(self.total))) " only" }
            }
            div.beside {
                div { @if let Some(supply) = self.supply { (self.hsn_table(supply)) } }
                div.signature {
                    p { "For " (brand.legal_name) }
                    p { "Authorised signatory" }
                }
            }
        }
    }

    fn hsn_table(&self, supply: Supply) -> Markup {
        // Each tax with its own rate: rule 46(l) and (m).
        let taxes = |tax: &TaxDocument, rate: f64| match supply {
            Supply::IntraState => vec![(tax.cgst_minor, rate / 2.0), (tax.sgst_minor, rate / 2.0)],
            Supply::InterState => vec![(tax.igst_minor, rate)],
        };
        let names: &[&str] = match supply {
            Supply::IntraState => &["CGST", self.state_tax],
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
                    @for line in self.summary.iter() {
                        @if let Some(rate) = line.gst_rate {
                            tr {
                                td { (line.hsn.as_ref().map_or("–", Hsn::as_str)) }
                                td.number { (rate) " %" }
                                td.number { (self.money(line.tax.taxable_minor)) }
                                @for (amount, rate) in taxes(&line.tax, rate) {
                                    td.number { (self.money(amount)) p.codes { (rate) " %" } }
                                }
                                td.number { (self.money(total(&line.tax))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

const fn total(tax: &TaxDocument) -> i64 {
    tax.cgst_minor + tax.sgst_minor + tax.igst_minor
}
