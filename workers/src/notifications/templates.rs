//! What each e-mail says.

use contracts::{
    OrderDocument, OrderItemDocument, RefundDocument, RefundKind, ReturnDocument, ReturnItemDocument, money,
};

mod invoices;

use super::content::{EmailContent, Good};
use super::kind::{NotificationKind, is_withdrawn};
use crate::documents::{address_lines, capitalised, day, label};

/// The content of a notification's e-mail. `order` is the order as it was invoiced, which says more than most events;
/// `None` when it has no invoice yet.
pub(super) fn content(kind: &NotificationKind, order: Option<&OrderDocument>, return_window_days: u32) -> EmailContent {
    let content = match kind {
        NotificationKind::OrderReceived(order) => received(order),
        NotificationKind::OrderConfirmed(order) => confirmed(order),
        NotificationKind::OrderCancelled(order) => cancelled(order),
        NotificationKind::OrderShipped(invoice) => invoices::shipped(invoice, order, return_window_days),
        NotificationKind::InvoiceRegistered(invoice) => invoices::registered(invoice),
        NotificationKind::InvoiceAgain(order, invoice) => invoices::again(order, invoice),
        NotificationKind::ReturnApproved(returned) => approved(returned),
        NotificationKind::ReturnRejected(returned) if is_withdrawn(returned) => withdrawn(returned),
        NotificationKind::ReturnRejected(returned) => rejected(returned),
        NotificationKind::RefundProcessed(refund) => refunded(refund, order),
        NotificationKind::RefundDelayed(refund) => delayed(refund, order),
    };
    let order = match kind {
        NotificationKind::OrderReceived(order)
        | NotificationKind::OrderConfirmed(order)
        | NotificationKind::OrderCancelled(order)
        | NotificationKind::InvoiceAgain(order, _) => Some(&**order),
        _ => order,
    };
    let addresses = order.into_iter().flat_map(|order| [&order.shipping_address, &order.billing_address]).flatten();
    let name = addresses.filter_map(|address| address.name.as_deref()).find(|name| !name.trim().is_empty());
    let greeting = name.map_or_else(|| "Hello,".to_owned(), |name| format!("Dear {name},"));
    EmailContent { subject: kind.subject(), greeting, ..content }
}

fn received(order: &OrderDocument) -> EmailContent {
    let (number, total) = (&order.order_number, money(order.total_minor, &order.currency));
    EmailContent {
        heading: "We have received your order",
        preview: format!("{} for {total}, as soon as it is paid", pieces(order)),
        opening: vec![format!(
            "Thank you for your order {number}. It is yours as soon as your payment of {total} has reached us. Then we confirm it \
             with another e-mail."
        )],
        ..placed(order)
    }
}

fn confirmed(order: &OrderDocument) -> EmailContent {
    let number = &order.order_number;
    EmailContent {
        heading: "Thank you for your order",
        preview: format!("{} for {}", pieces(order), money(order.total_minor, &order.currency)),
        opening: vec![format!(
            "We have received your payment for order {number}, and we are glad that these pieces have found you. We will write \
             again with your invoice as soon as your order is on its way."
        )],
        ..placed(order)
    }
}

fn cancelled(order: &OrderDocument) -> EmailContent {
    let (number, total) = (&order.order_number, money(order.total_minor, &order.currency));
    let mut opening = vec![format!("Your order {number} is cancelled, and nothing will be sent.")];
    let preview = if order.paid_at.is_some() && order.total_minor > 0 {
        opening.push(format!(
            "We give back the {total} that you have paid, in full and the way you paid. We write again as soon as the refund is \
             on its way."
        ));
        format!("We refund {total}")
    } else {
        opening.push("You have not paid anything, so there is nothing to refund.".to_owned());
        format!("Nothing was paid for order {number}")
    };
    let EmailContent { facts, goods, sums, total, .. } = placed(order);
    EmailContent {
        heading: "Your order is cancelled",
        preview,
        opening,
        facts,
        goods,
        sums,
        total,
        closing: vec!["If you did not expect this, just reply to this e-mail.".to_owned()],
        ..EmailContent::default()
    }
}

/// The facts of an order that has not been sent yet.
fn placed(order: &OrderDocument) -> EmailContent {
    EmailContent {
        facts: facts([
            ("Order", Some(order.order_number.to_string())),
            ("Placed on", Some(day(order.created_at))),
            ("Payment", order.payment_method.clone()),
        ]),
        address: destination(order),
        closing: vec!["If anything in this order is not right, just reply to this e-mail.".to_owned()],
        ..priced(order)
    }
}

fn approved(returned: &ReturnDocument) -> EmailContent {
    let number = &returned.order_number;
    let refund = money(returned.refund_amount_minor, &returned.currency);
    EmailContent {
        heading: "Your return is approved",
        preview: format!("We refund {refund} once we have received your return"),
        opening: vec![
            format!("We have approved your return for order {number}."),
            format!(
                "Please pack everything as well as it was packed for you, and include a note with the order number. As soon \
                 as it is back with us, we will refund {refund}."
            ),
        ],
        facts: facts([
            ("Order", Some(number.to_string())),
            ("Approved on", returned.approved_at.map(day)),
            ("Reason", returned.reason.clone()),
        ]),
        goods: returned.items.iter().map(|item| returned_good(item, &returned.currency)).collect(),
        total: Some(("Refund", refund)),
        closing: vec!["If you have any questions, just reply to this e-mail.".to_owned()],
        ..EmailContent::default()
    }
}

fn withdrawn(returned: &ReturnDocument) -> EmailContent {
    let number = &returned.order_number;
    EmailContent {
        heading: "Your return is withdrawn",
        preview: format!("You keep everything of order {number}"),
        opening: vec![format!(
            "You have withdrawn your return for order {number}. You need not send anything back, and nothing is refunded."
        )],
        facts: facts([("Order", Some(number.to_string())), ("Withdrawn on", returned.rejected_at.map(day))]),
        goods: returned.items.iter().map(|item| returned_good(item, &returned.currency)).collect(),
        closing: vec![
            "If you change your mind while the time for returns is running, you can request another return.".to_owned(),
        ],
        ..EmailContent::default()
    }
}

/// The category of a request that was not reviewed in time. The command service assigns it.
const EXPIRED: &str = "REVIEW_EXPIRED";

fn rejected(returned: &ReturnDocument) -> EmailContent {
    let number = &returned.order_number;
    // Rejected because the time for a review ran out, without a review.
    let opening = if returned.rejection_category.as_deref() == Some(EXPIRED) {
        format!(
            "We did not review your return for order {number} in time, and the request has been closed. We are sorry. Please \
             reply to this e-mail, and a person will look into it."
        )
    } else {
        format!(
            "We have looked carefully at your return for order {number}. We are sorry that we cannot accept it this time."
        )
    };
    EmailContent {
        heading: "About your return",
        preview: format!("We could not accept your return for order {number}"),
        opening: vec![opening],
        facts: facts([
            ("Order", Some(number.to_string())),
            ("Decided on", returned.rejected_at.map(day)),
            ("Category", returned.rejection_category.as_deref().map(|name| label(&name.to_lowercase()))),
            ("Our reason", returned.rejection_reason.as_deref().map(capitalised)),
        ]),
        goods: returned.items.iter().map(|item| returned_good(item, &returned.currency)).collect(),
        closing: vec!["If you disagree, reply to this e-mail and tell us why. A person will read it.".to_owned()],
        ..EmailContent::default()
    }
}

fn refunded(refund: &RefundDocument, order: Option<&OrderDocument>) -> EmailContent {
    let number = &refund.order_number;
    let amount = money(refund.amount_minor, &refund.currency);
    let (opening, farewell) = match refund.kind {
        RefundKind::Return => (
            format!("We have received what you sent back from order {number}, and we have refunded {amount}."),
            "Thank you for giving the work of human hands a try. We hope that you will find a piece that is yours.",
        ),
        RefundKind::Cancellation => (
            format!("Your order {number} was cancelled, and we have refunded the {amount} that you had paid."),
            "We hope that you will find another piece that is yours.",
        ),
        RefundKind::Goodwill => (
            format!("We have refunded {amount} of what you paid for order {number}. You need not send anything back."),
            "Thank you for your patience with us.",
        ),
    };
    EmailContent {
        heading: "Your refund is on its way",
        preview: format!("{amount} for order {number}"),
        opening: vec![opening],
        facts: facts([
            ("Order", Some(number.to_string())),
            ("Why", refund.reason.as_deref().filter(|_| refund.kind == RefundKind::Goodwill).map(capitalised)),
            ("Refunded on", refund.processed_at.map(day)),
            ("To", order.and_then(|order| order.payment_method.clone())),
            ("Reference", refund.gateway_reference.clone().or_else(|| refund.transaction_id.clone())),
        ]),
        total: Some(("Refund", amount)),
        closing: vec!["It may take your bank a few days to show it.".to_owned(), farewell.to_owned()],
        ..EmailContent::default()
    }
}

fn delayed(refund: &RefundDocument, order: Option<&OrderDocument>) -> EmailContent {
    let number = &refund.order_number;
    let amount = money(refund.amount_minor, &refund.currency);
    EmailContent {
        heading: "Your refund takes longer",
        preview: format!("{amount} for order {number}"),
        opening: vec![format!(
            "We have asked our payment provider to refund {amount} for order {number}, and it has not told us yet whether the money \
             is on its way. We ask again until it does. You need not do anything, and you will not lose anything."
        )],
        facts: facts([
            ("Order", Some(number.to_string())),
            ("Asked for on", Some(day(refund.created_at))),
            ("To", order.and_then(|order| order.payment_method.clone())),
        ]),
        total: Some(("Refund", amount)),
        closing: vec![
            "We are sorry. If you see the money on your account before we write again, all the better.".to_owned(),
        ],
        ..EmailContent::default()
    }
}

/// The goods and sums of an order.
fn priced(order: &OrderDocument) -> EmailContent {
    let amount = |minor| money(minor, &order.currency);
    let mut sums = vec![("Subtotal", amount(order.subtotal_minor))];
    if order.discount_minor != 0 {
        sums.push(("Discount", amount(order.discount_minor.saturating_neg())));
    }
    let shipping = if order.shipping_minor == 0 { "Free".to_owned() } else { amount(order.shipping_minor) };
    sums.push(("Shipping", shipping));
    if let Some(terms) = &order.tax_terms {
        sums.push((
            if terms.prices_include_tax { "GST, included in the total" } else { "GST" },
            amount(order.tax_minor),
        ));
    }
    EmailContent {
        goods: order.items.iter().map(|item| good(item, &order.currency)).collect(),
        sums,
        total: Some(("Total", amount(order.total_minor))),
        ..EmailContent::default()
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

/// A line without units refunds the shipping of units that were returned before.
fn returned_good(item: &ReturnItemDocument, currency: &str) -> Good {
    let title = if item.quantity == 0 { format!("Shipping of {}", item.title) } else { item.title.clone() };
    Good {
        title,
        detail: item.sku.to_string(),
        quantity: item.quantity.max(1),
        amount: money(item.amount_minor, currency),
    }
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

/// The facts that have a value.
fn facts<const N: usize>(all: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    all.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.trim().is_empty())?))).collect()
}
