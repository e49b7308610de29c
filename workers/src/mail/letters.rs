//! What each e-mail says.

use contracts::{
    InvoiceDocument, OrderDocument, OrderItemDocument, RefundDocument, ReturnDocument, ReturnItemDocument,
};

use super::letter::{Good, Letter};
use super::occasion::Occasion;
use crate::invoice_template::{address_lines, capitalised, day, label, money, together};

/// The letter about an occasion. `order` is the order as it was invoiced, which knows more than most events do; an order
/// from before that was kept has none.
pub(crate) fn letter(occasion: &Occasion, order: Option<&OrderDocument>, return_window_days: u32) -> Letter {
    let said = match occasion {
        Occasion::Confirmed(order) => confirmed(order),
        Occasion::Shipped(invoice) => shipped(invoice, order, return_window_days),
        Occasion::Approved(returned) => approved(returned),
        Occasion::Rejected(returned) => rejected(returned),
        Occasion::Refunded(refund) => refunded(refund, order),
    };
    let order = if let Occasion::Confirmed(order) = occasion { Some(&**order) } else { order };
    let addresses = order.into_iter().flat_map(|order| [&order.shipping_address, &order.billing_address]).flatten();
    let name = addresses.filter_map(|address| address.name.as_deref()).find(|name| !name.trim().is_empty());
    let greeting = name.map_or_else(|| "Hello,".to_owned(), |name| format!("Dear {name},"));
    Letter { subject: occasion.subject(), greeting, ..said }
}

fn confirmed(order: &OrderDocument) -> Letter {
    let number = &order.order_number;
    Letter {
        heading: "Thank you for your order",
        preview: format!("{} for {}", pieces(order), money(order.total_minor, &order.currency)),
        opening: vec![format!(
            "Your order {number} has reached us, and we are glad that these pieces have found you. We write again as soon as \
             it is on its way, with your invoice."
        )],
        facts: facts([
            ("Order", Some(number.clone())),
            ("Placed on", Some(day(order.created_at))),
            ("Payment", order.payment_method.clone()),
        ]),
        address: destination(order),
        closing: vec!["If anything about it is not as you meant it, just answer this e-mail.".to_owned()],
        ..priced(order)
    }
}

fn shipped(invoice: &InvoiceDocument, order: Option<&OrderDocument>, return_window_days: u32) -> Letter {
    let number = &invoice.order_number;
    let total = money(invoice.total_minor, &invoice.currency);
    let days = if return_window_days == 1 { "1 day".to_owned() } else { format!("{return_window_days} days") };
    let parcel = together(invoice.carrier.as_deref(), invoice.tracking_number.as_deref());
    let goods = order.map_or_else(Letter::default, priced);
    Letter {
        heading: "Your order is on its way",
        preview: parcel.clone().unwrap_or_else(|| format!("Order {number}, {total}")),
        opening: vec![format!("Your order {number} has been packed by hand and has left us.")],
        facts: facts([
            ("Order", Some(number.clone())),
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
                "Should a piece not feel at home with you, it may be returned within {days} of its delivery. Please quote \
                 order {number}."
            ),
        ],
        ..goods
    }
}

fn approved(returned: &ReturnDocument) -> Letter {
    let number = &returned.order_number;
    let refund = money(returned.refund_amount_minor, &returned.currency);
    Letter {
        heading: "Your return is approved",
        preview: format!("{refund} comes back to you once the return has reached us"),
        opening: vec![
            format!("We have approved your return for order {number}."),
            format!(
                "Please pack everything as well as it came to you, and send it with a note of the order's number. As soon as \
                 it is back with us, we refund {refund}."
            ),
        ],
        facts: facts([
            ("Order", Some(number.clone())),
            ("Approved on", returned.approved_at.map(day)),
            ("Reason", returned.reason.clone()),
        ]),
        goods: returned.items.iter().map(|item| returned_good(item, &returned.currency)).collect(),
        total: Some(("Refund", refund)),
        closing: vec!["If you have a question on the way, just answer this e-mail.".to_owned()],
        ..Letter::default()
    }
}

/// The category of a request that nobody has reviewed in time; the command service gives it.
const EXPIRED: &str = "REVIEW_EXPIRED";

fn rejected(returned: &ReturnDocument) -> Letter {
    let number = &returned.order_number;
    // Rejected by the clock: nobody has looked at anything.
    let opening = if returned.rejection_category.as_deref() == Some(EXPIRED) {
        format!(
            "We have not decided about your return for order {number} in time, so the request has been closed. We are sorry. \
             Please answer this e-mail, and a person will see to it."
        )
    } else {
        format!(
            "We have looked at your return for order {number} with care. We are sorry that we cannot accept it this time."
        )
    };
    Letter {
        heading: "About your return",
        preview: format!("We cannot take back what you asked us to from order {number}"),
        opening: vec![opening],
        facts: facts([
            ("Order", Some(number.clone())),
            ("Decided on", returned.rejected_at.map(day)),
            ("Ground", returned.rejection_category.as_deref().map(|name| label(&name.to_lowercase()))),
            ("Our reason", returned.rejection_reason.as_deref().map(capitalised)),
        ]),
        goods: returned.items.iter().map(|item| returned_good(item, &returned.currency)).collect(),
        closing: vec!["If you see it differently, answer this e-mail and tell us. A person reads it.".to_owned()],
        ..Letter::default()
    }
}

fn refunded(refund: &RefundDocument, order: Option<&OrderDocument>) -> Letter {
    let number = &refund.order_number;
    let amount = money(refund.amount_minor, &refund.currency);
    Letter {
        heading: "Your refund is on its way",
        preview: format!("{amount} for order {number}"),
        opening: vec![format!("What you sent back from order {number} has reached us, and we have refunded {amount}.")],
        facts: facts([
            ("Order", Some(number.clone())),
            ("Refunded on", refund.processed_at.map(day)),
            ("To", order.and_then(|order| order.payment_method.clone())),
            ("Reference", refund.transaction_id.clone()),
        ]),
        total: Some(("Refund", amount)),
        closing: vec![
            "Your bank may take some days to show it.".to_owned(),
            "Thank you for giving the work of human hands a try. We hope that you find what is yours.".to_owned(),
        ],
        ..Letter::default()
    }
}

/// Goods and sums of an order.
fn priced(order: &OrderDocument) -> Letter {
    let amount = |minor| money(minor, &order.currency);
    let mut sums = vec![("Subtotal", amount(order.subtotal_minor))];
    if order.discount_minor != 0 {
        sums.push(("Discount", amount(order.discount_minor.saturating_neg())));
    }
    let shipping = if order.shipping_minor == 0 { "Free".to_owned() } else { amount(order.shipping_minor) };
    sums.push(("Shipping", shipping));
    if let Some(terms) = &order.tax_terms {
        sums.push((if terms.prices_include_tax { "GST, contained in it" } else { "GST" }, amount(order.tax_minor)));
    }
    Letter {
        goods: order.items.iter().map(|item| good(item, &order.currency)).collect(),
        sums,
        total: Some(("Total", amount(order.total_minor))),
        ..Letter::default()
    }
}

fn good(item: &OrderItemDocument, currency: &str) -> Good {
    Good {
        title: item.title.clone(),
        detail: format!("{} · {} each", item.sku, money(item.unit_price_minor, currency)),
        quantity: item.quantity,
        amount: money(item.unit_price_minor.saturating_mul(i64::from(item.quantity)), currency),
    }
}

/// A line of no units gives back the shipping of units that came back before.
fn returned_good(item: &ReturnItemDocument, currency: &str) -> Good {
    let title = if item.quantity == 0 { format!("Shipping of {}", item.title) } else { item.title.clone() };
    Good { title, detail: item.sku.clone(), quantity: item.quantity.max(1), amount: money(item.amount_minor, currency) }
}

fn destination(order: &OrderDocument) -> Option<(&'static str, Vec<String>)> {
    let address = order.shipping_address.as_ref().or(order.billing_address.as_ref())?;
    let lines = address.name.iter().cloned().chain(address_lines(address)).collect();
    Some(("Ships to", lines))
}

fn pieces(order: &OrderDocument) -> String {
    match order.items.iter().map(|item| i64::from(item.quantity)).sum() {
        1_i64 => "One piece".to_owned(),
        count => format!("{count} pieces"),
    }
}

/// Those that are known.
fn facts<const N: usize>(all: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    all.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.trim().is_empty())?))).collect()
}
