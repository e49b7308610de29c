//! The page that invoices and credit notes share: HTML that needs nothing from outside, with style, fonts and emblem in it.

use std::fmt::Write;

use contracts::{Address, OrderDocument, TaxTermsDocument};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::fonts;
use super::format::{address_lines, together};
use super::shown::shown;

const STYLE: &str = include_str!("../../assets/invoice.css");
const EMBLEM: &str = include_str!("../../assets/emblem.svg");

/// The shop that issues the documents and sends the e-mails.
#[derive(Debug, Clone)]
pub struct Brand {
    pub name: String,
    pub tagline: String,
    /// One line under the thank-you note, such as an e-mail address and a web site.
    pub contact: String,
    /// The name under which the shop is registered.
    pub legal_name: String,
    /// Semicolons separate its lines.
    pub address: String,
    pub city: Option<String>,
    pub postal_code: Option<String>,
}

impl Default for Brand {
    fn default() -> Self {
        Self {
            name: "ArtiCurated".to_owned(),
            tagline: "The handmade, chosen with care".to_owned(),
            contact: "care@articurated.example · www.articurated.example".to_owned(),
            legal_name: "ArtiCurated".to_owned(),
            address: String::new(),
            city: None,
            postal_code: None,
        }
    }
}

/// What a document is called.
pub(crate) struct Heading<'a> {
    pub(crate) title: &'a str,
    pub(crate) number: &'a str,
    /// "Original for recipient", on documents that carry tax.
    pub(crate) copy: Option<&'a str>,
}

/// The whole document. Embeds only the fonts that `body` needs.
pub(crate) fn page(heading: &Heading<'_>, body: &Markup, brand: &Brand) -> Markup {
    let body = PreEscaped(shown(&body.0));
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

pub(crate) fn masthead(heading: &Heading<'_>, brand: &Brand) -> Markup {
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

/// One name and value; nothing when the value is missing or empty.
pub(crate) fn fact(name: &str, value: Option<&str>) -> Markup {
    html! {
        @if let Some(value) = value.filter(|value| !value.is_empty()) {
            div { dt { (name) } dd dir="auto" { (value) } }
        }
    }
}

/// The supplier, where the order is taxed, and the customer's one or two addresses.
pub(crate) fn addresses(order: &OrderDocument, brand: &Brand) -> Markup {
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
            @if let Some(place) = together(brand.city.as_deref(), brand.postal_code.as_deref()) { p dir="auto" { (place) } }
            p { "State " (terms.supplier_state) }
            p { "GSTIN " (terms.supplier_gstin) }
        }
    }
}

fn party(heading: &str, address: Option<&Address>, order: &OrderDocument) -> Markup {
    let name = address.and_then(|address| address.name.as_deref()).unwrap_or(order.customer_id.as_str());
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

/// A row of sums in a table with this many columns. The amount spans two of them, so that a large total does not widen the
/// column of amounts.
pub(crate) fn total_row(columns: u8, class: &str, name: &str, amount: &str) -> Markup {
    html! {
        tr class=(class) { td colspan=(columns - 4) {} td.name colspan="2" { (name) } td.number colspan="2" { (amount) } }
    }
}

/// The line at the foot of every page. The browser numbers the pages itself.
fn page_footer(text: &str) -> String {
    format!("@page{{@bottom-left{{content:{}}}}}", css_string(text))
}

/// A CSS string with any text in it. Everything but plain letters, digits and spaces is escaped, so that nothing in the
/// text ends the string or the style element.
fn css_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() || letter == ' ' {
            quoted.push(letter);
        } else {
            // The space ends the escape and is not part of the text.
            write!(quoted, "\\{:x} ", u32::from(letter)).expect("writing to a String cannot fail");
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_footer_ends_its_string() {
        assert_eq!(css_string("A c·9"), r#""A c\b7 9""#);
        assert_eq!(css_string("\"}\\</style>"), r#""\22 \7d \5c \3c \2f style\3e ""#);
    }
}
