//! Invoices and credit notes as pages of HTML that need nothing from outside: style, fonts and emblem are in them.

mod amount;
mod credit_note;
mod fonts;
pub(crate) mod summary;
mod tax;
mod words;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Write;

use chrono::{DateTime, Utc};
use chrono_tz::Asia::Kolkata;
use contracts::{Address, OrderDocument, OrderItemDocument, TaxTermsDocument};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use amount::money;
pub use credit_note::{CreditNoteView, credit_note_html};

use tax::{Goods, Line};

const STYLE: &str = include_str!("../assets/invoice.css");
const EMBLEM: &str = include_str!("../assets/emblem.svg");

/// What an invoice says besides the order itself.
#[derive(Debug, Clone, Copy)]
pub struct InvoiceView<'a> {
    pub order: &'a OrderDocument,
    pub invoice_number: &'a str,
    /// Shown as a date in Asia/Kolkata.
    pub issued_at: DateTime<Utc>,
    /// Days from delivery within which items may be returned.
    pub return_window_days: u32,
}

/// Who sends it.
#[derive(Debug, Clone)]
pub struct Brand {
    pub name: String,
    pub tagline: String,
    /// One line under the thank-you note, e.g. an e-mail address and a web site.
    pub contact: String,
    /// Under which the shop is registered.
    pub legal_name: String,
    /// Lines, between semicolons.
    pub address: String,
}

impl Default for Brand {
    fn default() -> Self {
        Self {
            name: "ArtiCurated".to_owned(),
            tagline: "The handmade, chosen with care".to_owned(),
            contact: "care@articurated.example · www.articurated.example".to_owned(),
            legal_name: "ArtiCurated".to_owned(),
            address: String::new(),
        }
    }
}

/// The whole document.
pub fn invoice_html(invoice: &InvoiceView<'_>, brand: &Brand) -> Markup {
    let taxed = invoice.order.tax_terms.is_some();
    let heading = Heading {
        title: if taxed { "Tax Invoice" } else { "Invoice" },
        number: invoice.invoice_number,
        copy: taxed.then_some("Original for recipient"),
    };
    let body = html! {
        (masthead(&heading, brand))
        (facts(invoice))
        (addresses(invoice.order, brand))
        (items(invoice, brand))
    };
    page(&heading, &body, brand)
}

/// What a document is called.
struct Heading<'a> {
    title: &'a str,
    number: &'a str,
    copy: Option<&'a str>,
}

fn page(heading: &Heading<'_>, body: &Markup, brand: &Brand) -> Markup {
    let fonts = fonts::css_for(&body.0);
    let footer = page_footer(&format!("{} · {} {}", brand.name, heading.title, heading.number));
    html! {
        (DOCTYPE)
        html lang="en-IN" {
            head {
                meta charset="utf-8";
                title { (heading.title) " " (heading.number) " – " (brand.name) }
                style { (PreEscaped(fonts)) (PreEscaped(STYLE)) (PreEscaped(footer)) }
            }
            body { (body) }
        }
    }
}

fn masthead(heading: &Heading<'_>, brand: &Brand) -> Markup {
    html! {
        header.masthead {
            div.emblem { (PreEscaped(EMBLEM)) }
            div.brand {
                p.name { (brand.name) }
                p.tagline { (brand.tagline) }
            }
            div.document {
                h1 { (heading.title) }
                p { (heading.number) }
                @if let Some(copy) = heading.copy { p.copy { (copy) } }
            }
        }
    }
}

fn facts(invoice: &InvoiceView<'_>) -> Markup {
    let order = invoice.order;
    html! {
        dl.facts {
            (fact("Invoice date", Some(&day(invoice.issued_at))))
            (fact("Order number", Some(&order.order_number)))
            (fact("Order date", Some(&day(order.created_at))))
            (fact("Payment", together(order.payment_method.as_deref(), order.payment_transaction_id.as_deref()).as_deref()))
            (fact("Shipped", order.shipped_at.map(day).as_deref()))
            (fact("Carrier", together(order.carrier.as_deref(), order.tracking_number.as_deref()).as_deref()))
            @if let Some(terms) = &order.tax_terms {
                (fact("Place of supply", Some(&terms.place_of_supply)))
                (fact("Reverse charge", Some("No")))
            }
        }
    }
}

/// `upi · UPI-632514870011`.
pub(crate) fn together(one: Option<&str>, other: Option<&str>) -> Option<String> {
    let both: Vec<_> = [one, other].into_iter().flatten().filter(|text| !text.is_empty()).collect();
    (!both.is_empty()).then(|| both.join(" · "))
}

fn fact(name: &str, value: Option<&str>) -> Markup {
    html! {
        @if let Some(value) = value.filter(|value| !value.is_empty()) {
            div { dt { (name) } dd dir="auto" { (value) } }
        }
    }
}

fn addresses(order: &OrderDocument, brand: &Brand) -> Markup {
    let (billing, shipping) = (order.billing_address.as_ref(), order.shipping_address.as_ref());
    html! {
        section.addresses {
            @if let Some(terms) = &order.tax_terms { (supplier(terms, brand)) }
            @if billing.is_none() || shipping.is_none() || billing == shipping {
                (party("Bill and ship to", billing.or(shipping), order))
            } @else {
                (party("Bill to", billing, order))
                (party("Ship to", shipping, order))
            }
        }
    }
}

fn supplier(terms: &TaxTermsDocument, brand: &Brand) -> Markup {
    html! {
        div {
            h2 { "Sold by" }
            p.name dir="auto" { (brand.legal_name) }
            @for line in brand.address.split(';').map(str::trim).filter(|line| !line.is_empty()) { p dir="auto" { (line) } }
            p { "State " (terms.supplier_state) }
            p { "GSTIN " (terms.supplier_gstin) }
        }
    }
}

fn party(heading: &str, address: Option<&Address>, order: &OrderDocument) -> Markup {
    let name = address.and_then(|address| address.name.as_deref()).unwrap_or(&order.customer_id);
    html! {
        div {
            h2 { (heading) }
            p.name dir="auto" { (name) }
            @if let Some(address) = address {
                @for line in address_lines(address) { p dir="auto" { (line) } }
            }
            @if heading.starts_with("Bill") && let Some(email) = &order.customer_email { p { (email) } }
        }
    }
}

pub(crate) fn address_lines(address: &Address) -> Vec<String> {
    let town = [&address.city, &address.state, &address.postal_code];
    let town = town.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut lines: Vec<String> = [&address.line1, &address.line2].into_iter().flatten().cloned().collect();
    lines.push(town);
    lines.extend(address.country.clone());
    lines.extend(address.phone.as_ref().map(|phone| format!("Phone {phone}")));
    lines.extend(address.gstin.as_ref().map(|gstin| format!("GSTIN {gstin}")));
    lines.extend(address.other.iter().map(|(name, value)| format!("{}: {value}", label(name))));
    lines.retain(|line| !line.trim().is_empty());
    lines
}

/// `delivery_note` → `Delivery note`.
pub(crate) fn label(name: &str) -> String {
    capitalised(&name.replace(['_', '-'], " "))
}

pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The totals and the closing words are rows of the section of the last item, which never breaks: they cannot stand
/// alone on a page.
fn items(invoice: &InvoiceView<'_>, brand: &Brand) -> Markup {
    let order = invoice.order;
    let Some((last, others)) = order.items.split_last() else { return html! {} };
    if let Some(terms) = &order.tax_terms {
        let lines = order.items.iter().map(Line::from);
        let goods = Goods::new(lines, &order.currency, Some(terms), order.total_minor);
        return html! {
            (goods.table())
            section.after {
                (goods.closing(brand))
                div.words { (closing_words(invoice, brand)) }
            }
        };
    }
    html! {
        table.items {
            thead {
                tr {
                    th.line { "#" }
                    th { "Item" }
                    th.number { "Qty" }
                    th.number { "Unit price" }
                    th.number { "Amount" }
                }
            }
            tbody { @for item in others { (item_row(item, &order.currency)) } }
            tbody.closing {
                (item_row(last, &order.currency))
                (totals(order))
                tr { td.words colspan="5" { (closing_words(invoice, brand)) } }
            }
        }
    }
}

fn item_row(item: &OrderItemDocument, currency: &str) -> Markup {
    let amount = item.unit_price_minor.saturating_mul(i64::from(item.quantity));
    html! {
        tr {
            td.line { (item.line_no) }
            td {
                p.title dir="auto" { (item.title) }
                p.codes { "SKU " (item.sku) @if let Some(hsn) = &item.hsn { span { "HSN " (hsn) } } }
            }
            td.number { (item.quantity) }
            td.number { (money(item.unit_price_minor, currency)) }
            td.number { (money(amount, currency)) }
        }
    }
}

fn totals(order: &OrderDocument) -> Markup {
    let money = |minor| money(minor, &order.currency);
    html! {
        (total_row(5, "sum", "Subtotal", &money(order.subtotal_minor)))
        @if order.discount_minor != 0 {
            (total_row(5, "sum", "Discount", &money(order.discount_minor.saturating_neg())))
        }
        @if order.shipping_minor == 0 {
            (total_row(5, "sum", "Shipping", "Free"))
        } @else {
            (total_row(5, "sum", "Shipping", &money(order.shipping_minor)))
        }
        (total_row(5, "total", "Total", &money(order.total_minor)))
    }
}

/// In a table of so many columns. The amount has two of them: a large total must not make the column of amounts wide.
fn total_row(columns: u8, class: &str, name: &str, amount: &str) -> Markup {
    html! {
        tr class=(class) { td colspan=(columns - 4) {} td.name colspan="2" { (name) } td.number colspan="2" { (amount) } }
    }
}

fn closing_words(invoice: &InvoiceView<'_>, brand: &Brand) -> Markup {
    let days = invoice.return_window_days;
    html! {
        p.thanks { "Thank you for choosing the work of human hands." }
        p {
            "Should a piece not feel at home with you, it may be returned within " (days)
            @if days == 1 { " day" } @else { " days" }
            " of its delivery. Please quote order " span { (invoice.order.order_number) } "."
        }
        p.contact { (brand.contact) }
    }
}

/// The line at the foot of every page: the browser numbers the pages itself.
fn page_footer(text: &str) -> String {
    format!("@page{{@bottom-left{{content:{}}}}}", css_string(text))
}

/// A CSS string of any text. Whatever is not a plain letter, digit or space is escaped, so that nothing in it ends
/// the string or the style element.
fn css_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || letter == ' ' {
            quoted.push(letter);
        } else {
            // The space ends the escape and is no part of the text.
            write!(quoted, "\\{:x} ", u32::from(letter)).expect("a String takes all that is written");
        }
    }
    quoted.push('"');
    quoted
}

pub(crate) fn day(at: DateTime<Utc>) -> String {
    at.with_timezone(&Kolkata).format("%-d %B %Y").to_string()
}
