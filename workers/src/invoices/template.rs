//! An invoice as HTML. For a registered shop it is a tax invoice: rule 46 of the CGST Rules.

use chrono::{DateTime, Utc};
use contracts::{EInvoiceDocument, OrderDocument, OrderItemDocument, money};
use maud::{Markup, PreEscaped, html};
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use crate::documents::{
    Brand, Heading, TaxTable, addresses, day, endorsement, fact, invoice_title, masthead, page, together, total_row,
};

/// What an invoice says.
#[derive(Debug, Clone, Copy)]
pub struct InvoiceView<'a> {
    pub order: &'a OrderDocument,
    pub invoice_number: &'a str,
    /// Shown as a date in Asia/Kolkata.
    pub issued_at: DateTime<Utc>,
    /// What the registration portal answered.
    pub e_invoice: Option<&'a EInvoiceDocument>,
    /// Days from delivery within which items may be returned.
    pub return_window_days: u32,
}

/// The whole document.
pub fn invoice_html(invoice: &InvoiceView<'_>, brand: &Brand) -> Markup {
    let taxed = invoice.order.tax_terms.is_some();
    let heading = Heading {
        title: invoice_title(invoice.order),
        number: invoice.invoice_number,
        copy: taxed.then_some("Original for recipient"),
    };
    let body = html! {
        (masthead(&heading, brand))
        @if let Some(endorsement) = endorsement(invoice.order) { p.endorsement { (endorsement) } }
        (facts(invoice))
        (addresses(invoice.order, brand))
        @if let Some(e_invoice) = invoice.e_invoice { (registration(e_invoice)) }
        (items(invoice, brand))
    };
    page(&heading, &body, brand)
}

fn facts(invoice: &InvoiceView<'_>) -> Markup {
    let order = invoice.order;
    html! {
        dl.facts {
            (fact("Invoice date", Some(&day(invoice.issued_at))))
            (fact("Order number", Some(order.order_number.as_str())))
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

/// IRN, acknowledgement and the signed QR code, as the portal gave them.
fn registration(e_invoice: &EInvoiceDocument) -> Markup {
    let code = QrCode::with_error_correction_level(&e_invoice.signed_qr_code, EcLevel::L).ok();
    let picture = code.map(|code| code.render::<svg::Color>().quiet_zone(true).min_dimensions(240, 240).build());
    html! {
        section.registration {
            @if let Some(picture) = picture { div.code { (PreEscaped(picture)) } }
            dl.facts {
                (fact("IRN", Some(&e_invoice.irn)))
                (fact("Acknowledgement number", Some(&e_invoice.acknowledgement_number)))
                (fact("Acknowledged", Some(&day(e_invoice.acknowledged_at))))
            }
        }
    }
}

/// Totals and closing words are rows in the section of the last item. That section never breaks, so they cannot stand alone
/// on a page.
fn items(invoice: &InvoiceView<'_>, brand: &Brand) -> Markup {
    let order = invoice.order;
    let Some((last, others)) = order.items.split_last() else { return html! {} };
    if order.tax_terms.is_some() {
        let goods = TaxTable::of_order(order);
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

fn closing_words(invoice: &InvoiceView<'_>, brand: &Brand) -> Markup {
    let days = invoice.return_window_days;
    html! {
        p.thanks { "Thank you for choosing the work of human hands." }
        p {
            "If a piece does not feel at home with you, you may return it within " (days)
            @if days == 1 { " day" } @else { " days" }
            " of delivery. Please quote order " span { (invoice.order.order_number) } "."
        }
        p.contact { (brand.contact) }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod printed;
