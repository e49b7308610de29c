//! Compares responses, read models, histories, files and the payment gateway's ledger with each other.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use contracts::{
    GatewayRefund, OrderDocument, OrderState, RefundKind, RefundStatus, ReturnDocument, ReturnState, Transition,
};
use serde::Deserialize;
use uuid::Uuid;

use super::client::{Client, Document};
use super::play::{Played, Tracked};

/// The final state as clients see it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) orders: Vec<OrderDocument>,
    pub(super) returns: Vec<ReturnDocument>,
    pub(super) ledger: Vec<GatewayRefund>,
}

#[derive(Debug, Deserialize)]
struct History {
    data: Vec<Transition>,
}

/// Reads everything and adds each failed check to `problems`.
pub(super) async fn check(
    client: &Client,
    played: &Played,
    invoices: &Path,
    problems: &mut Vec<String>,
) -> Result<Seen> {
    let mut seen = Seen { orders: Vec::new(), returns: Vec::new(), ledger: client.ledger().await? };
    for order in &played.orders {
        seen.orders.push(check_entity(client, order, problems).await?);
    }
    for request in &played.returns {
        seen.returns.push(check_entity(client, request, problems).await?);
    }
    for order in &seen.orders {
        check_invoice(client, order, invoices, problems).await?;
    }
    for request in &seen.returns {
        check_credit_note(request, invoices, problems).await;
    }
    check_refunds(&seen, problems);
    Ok(seen)
}

/// The read model equals the last command's response, and the history leads there version by version.
async fn check_entity<D: Document>(client: &Client, tracked: &Tracked<D>, problems: &mut Vec<String>) -> Result<D> {
    let path = tracked.path();
    let seen: D = client.read(&path, &tracked.token).await?;
    if seen.clone().without_effects() != tracked.document.clone().without_effects() {
        problems.push(format!("{path}: the read model differs from the last command's response"));
    }
    let History { data } = client.read(&format!("{path}/history"), &tracked.token).await?;
    if !data.iter().map(|entry| entry.version).eq(1..=seen.version()) {
        problems.push(format!("{path}: the history does not have the versions 1 to {}", seen.version()));
    }
    let chained = data.windows(2).all(|pair| pair[1].from_state.as_deref() == Some(&pair[0].to_state));
    if !chained || data.last().map(|entry| entry.to_state.as_str()) != Some(seen.state()) {
        problems.push(format!("{path}: the history does not lead to {}", seen.state()));
    }
    Ok(seen)
}

/// A shipped order has one PDF: in the store, over HTTP, and of the size that its document says. Other orders have none.
async fn check_invoice(
    client: &Client,
    order: &OrderDocument,
    folder: &Path,
    problems: &mut Vec<String>,
) -> Result<()> {
    let number = &order.order_number;
    let shipped = matches!(order.state, OrderState::Shipped | OrderState::Delivered);
    let invoice = match &order.invoice {
        Some(invoice) if shipped => invoice,
        None if !shipped => return Ok(()),
        other => {
            problems.push(format!("order {number} is {} and its invoice is {other:?}", order.state));
            return Ok(());
        }
    };
    let file = folder.join(&invoice.path);
    let stored = tokio::fs::read(&file).await.unwrap_or_default();
    if !stored.starts_with(b"%PDF") || i64::try_from(stored.len()).ok() != Some(invoice.size_bytes) {
        problems.push(format!("order {number}: {} is not a PDF of {} bytes", file.display(), invoice.size_bytes));
    }
    if client.invoice(order.id).await? != stored {
        problems.push(format!("order {number}: the invoice over HTTP differs from the stored file"));
    }
    if invoice.total_minor != order.total_minor {
        problems.push(format!("order {number}: the invoice's total differs from the order's"));
    }
    Ok(())
}

/// A completed return has one credit note in the store, over its refund amount. Other returns have none.
async fn check_credit_note(request: &ReturnDocument, folder: &Path, problems: &mut Vec<String>) {
    let note = match &request.credit_note {
        Some(note) if request.state == ReturnState::Completed => note,
        None if request.state != ReturnState::Completed => return,
        other => {
            problems.push(format!("return {} is {} and its credit note is {other:?}", request.id, request.state));
            return;
        }
    };
    let stored = tokio::fs::read(folder.join(&note.path)).await.unwrap_or_default();
    if !stored.starts_with(b"%PDF") || i64::try_from(stored.len()).ok() != Some(note.size_bytes) {
        problems.push(format!("return {}: {} is not a PDF of {} bytes", request.id, note.path, note.size_bytes));
    }
    if note.total_minor != request.refund_amount_minor {
        problems.push(format!("return {}: the credit note's total differs from its refund", request.id));
    }
}

/// The gateway has paid the exact amount of each completed return once, and nothing else.
fn check_refunds(seen: &Seen, problems: &mut Vec<String>) {
    let mut paid = BTreeMap::new();
    for refund in &seen.ledger {
        let Some(about) = refund.about() else {
            problems.push(format!("the gateway has a refund for nothing: {refund:?}"));
            continue;
        };
        if paid.insert(about, refund).is_some() {
            problems.push(format!("{about}: refunded more than once"));
        }
    }
    check_cancellations(seen, &mut paid, problems);
    for request in &seen.returns {
        let entry = paid.remove(&request.id);
        if request.state != ReturnState::Completed {
            if entry.is_some() || request.refund.is_some() {
                problems.push(format!("return {} is {} and has a refund", request.id, request.state));
            }
            continue;
        }
        let sum: i64 = request.items.iter().map(|item| item.amount_minor).sum();
        let ours = request.refund.as_ref().filter(|refund| refund.status == RefundStatus::Processed);
        let agree = entry.zip(ours).is_some_and(|(entry, ours)| {
            [entry.amount, ours.amount_minor, request.refund_amount_minor].iter().all(|amount| *amount == sum)
                && entry.currency == request.currency
                && ours.transaction_id.as_ref() == Some(&entry.transaction_id)
        });
        if !agree {
            problems.push(format!(
                "return {}: {sum} is due, the gateway has {entry:?}, the read model has {ours:?}",
                request.id
            ));
        }
    }
    for (id, refund) in paid {
        problems.push(format!("the gateway has a refund for {id}, which is no completed return: {refund:?}"));
    }
}

/// An order that was paid and then cancelled has one refund over its total. Other orders have none without a return.
fn check_cancellations(seen: &Seen, paid: &mut BTreeMap<Uuid, &GatewayRefund>, problems: &mut Vec<String>) {
    for order in &seen.orders {
        let mut own = order.refunds.iter().filter(|refund| refund.kind == RefundKind::Cancellation);
        let is_due = order.state == OrderState::Cancelled && order.paid_at.is_some() && order.total_minor > 0;
        match (is_due, own.next(), own.next()) {
            (false, None, None) => {}
            (true, Some(refund), None)
                if refund.status == RefundStatus::Processed
                    && refund.amount_minor == order.total_minor
                    && paid.remove(&refund.id).is_some_and(|entry| entry.amount == order.total_minor) => {}
            (_, first, _) => problems.push(format!("order {}: cancelled, and its refund is {first:?}", order.id)),
        }
    }
}
