//! E-mails that carry the invoice.

use contracts::{InvoiceDocument, OrderDocument, money};

use super::{destination, facts, priced};
use crate::documents::{day, together};
use crate::notifications::content::EmailContent;

pub(super) fn shipped(
    invoice: &InvoiceDocument,
    order: Option<&OrderDocument>,
    return_window_days: u32,
) -> EmailContent {
    let number = &invoice.order_number;
    let total = money(invoice.total_minor, &invoice.currency);
    let days = if return_window_days == 1 { "1 day".to_owned() } else { format!("{return_window_days} days") };
    let parcel = together(invoice.carrier.as_deref(), invoice.tracking_number.as_deref());
    let goods = order.map_or_else(EmailContent::default, priced);
    EmailContent {
        heading: "Your order is on its way",
        preview: parcel.clone().unwrap_or_else(|| format!("Order {number}, {total}")),
        opening: vec![format!("We have packed your order {number} by hand and sent it on its way.")],
        facts: facts([
            ("Order", Some(number.to_string())),
            ("Shipped on", order.and_then(|order| order.shipped_at).map(day)),
            ("Carrier", invoice.carrier.clone()),
            ("Tracking number", invoice.tracking_number.clone()),
            ("Invoice", Some(invoice.invoice_number.clone())),
        ]),
        total: Some(("Total", total)),
        address: order.and_then(destination),
        closing: vec![
            format!("Your invoice {} is attached as a PDF.", invoice.invoice_number),
            format!(
                "If a piece does not feel at home with you, you may return it within {days} of delivery. Please quote order \
                 {number}."
            ),
        ],
        ..goods
    }
}

pub(super) fn registered(invoice: &InvoiceDocument) -> EmailContent {
    let (number, total) = (&invoice.order_number, money(invoice.total_minor, &invoice.currency));
    let irn = invoice.e_invoice.as_ref().map(|e_invoice| e_invoice.irn.clone());
    EmailContent {
        heading: "Your registered invoice",
        preview: format!("Invoice {}, {total}", invoice.invoice_number),
        opening: vec![format!(
            "The invoice of your order {number} is registered at the invoice registration portal of GST. Please keep the attached edition: \
             it has the reference number and the signed code, and takes the place of the one that you have."
        )],
        facts: facts([
            ("Order", Some(number.to_string())),
            ("Invoice", Some(invoice.invoice_number.clone())),
            ("IRN", irn),
        ]),
        total: Some(("Total", total)),
        closing: vec![format!("Your invoice {} is attached as a PDF.", invoice.invoice_number)],
        ..EmailContent::default()
    }
}

pub(super) fn again(order: &OrderDocument, invoice: &InvoiceDocument) -> EmailContent {
    let (number, total) = (&invoice.order_number, money(invoice.total_minor, &invoice.currency));
    EmailContent {
        heading: "Your invoice, once more",
        preview: format!("Invoice {}, {total}", invoice.invoice_number),
        opening: vec![format!(
            "Here is the invoice of your order {number} once more. It is the same one; nothing is to be paid."
        )],
        facts: facts([
            ("Order", Some(number.to_string())),
            ("Shipped on", order.shipped_at.map(day)),
            ("Invoice", Some(invoice.invoice_number.clone())),
        ]),
        total: Some(("Total", total)),
        closing: vec![format!("Your invoice {} is attached as a PDF.", invoice.invoice_number)],
        ..EmailContent::default()
    }
}
