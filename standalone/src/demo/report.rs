//! Prints the results as tables.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use contracts::money;
use contracts::{EventType, OrderDocument, OrderState, ReturnState};
use sqlx::PgPool;

use super::check::Seen;
use super::play::millis;

/// Prints all tables; `reads` are the times from a command's response to its read model.
pub(super) async fn report(pool: &PgPool, seen: &Seen, reads: &[Duration], invoices: &Path) -> Result<()> {
    by_state(seen);
    events(pool).await?;
    document_table(seen, invoices);
    refund_table(seen);
    timings(&seen.orders, reads);
    Ok(())
}

fn by_state(seen: &Seen) {
    heading("Orders and returns by state");
    for state in OrderState::ALL {
        let orders: Vec<_> = seen.orders.iter().filter(|order| order.state == state).collect();
        let total = orders.iter().map(|order| order.total_minor).sum();
        println!("  {:<26}{:>4}  {:>18}", state.as_str(), orders.len(), money(total, "INR"));
    }
    for state in ReturnState::ALL {
        let returns: Vec<_> = seen.returns.iter().filter(|request| request.state == state).collect();
        if !returns.is_empty() {
            let total = returns.iter().map(|request| request.refund_amount_minor).sum();
            println!("  {:<26}{:>4}  {:>18}", format!("return {state}"), returns.len(), money(total, "INR"));
        }
    }
}

async fn events(pool: &PgPool) -> Result<()> {
    heading("Events published");
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "select event_type, count(*) from messaging.outbox
         where position in (select unnest(positions) from messaging.relay_batches) group by event_type",
    )
    .fetch_all(pool)
    .await?;
    let count_of = |event: EventType| counts.iter().find(|(name, _)| name == event.as_str()).map(|(_, count)| *count);
    for event in EventType::ALL {
        if let Some(count) = count_of(event) {
            println!("  {:<26}{count:>4}", event.as_str());
        }
    }
    println!("  {:<26}{:>4}", "total", counts.iter().map(|(_, count)| count).sum::<i64>());
    Ok(())
}

fn document_table(seen: &Seen, folder: &Path) {
    heading("Invoices and credit notes");
    let row = |number: &str, minor, currency: &str, size: i64, path: &str| {
        let (amount, size) = (money(minor, currency), format!("{} kB", size / 1_000));
        println!("  {number:<18}{amount:>16}  {size:>7}  {}", folder.join(path).display());
    };
    for invoice in seen.orders.iter().filter_map(|order| order.invoice.as_ref()) {
        row(&invoice.invoice_number, invoice.total_minor, &invoice.currency, invoice.size_bytes, &invoice.path);
    }
    for note in seen.returns.iter().filter_map(|request| request.credit_note.as_ref()) {
        row(&note.credit_note_number, -note.total_minor, &note.currency, note.size_bytes, &note.path);
    }
}

fn refund_table(seen: &Seen) {
    heading("Refunds: read model and gateway ledger");
    for request in &seen.returns {
        let Some(refund) = &request.refund else { continue };
        let entry = seen.ledger.iter().find(|entry| entry.return_id == Some(request.id));
        println!(
            "  {:<12}  {:<10}{:>14}  {}\n  {:<12}  {:<10}{:>14}  {}",
            request.order_number,
            refund.status.as_str(),
            money(refund.amount_minor, &refund.currency),
            refund.transaction_id.as_deref().unwrap_or("-"),
            "gateway",
            entry.map_or("none", |_| "paid"),
            entry.map_or_else(String::new, |entry| money(entry.amount, &entry.currency)),
            entry.map_or("-", |entry| &entry.transaction_id),
        );
    }
}

fn timings(orders: &[OrderDocument], reads: &[Duration]) {
    heading("Timings");
    let to_pdf = orders.iter().filter_map(|order| {
        let (shipped, invoice) = (order.shipped_at?, order.invoice.as_ref()?);
        (invoice.generated_at - shipped).to_std().ok()
    });
    timing("order shipped to invoice stored", to_pdf.collect());
    timing("command response to read model", reads.to_vec());
}

fn timing(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    if let (Some(last), Some(middle)) = (samples.last(), samples.get(samples.len() / 2)) {
        println!("  {what:<38}p50 {:>8}   max {:>8}   of {}", millis(*middle), millis(*last), samples.len());
    }
}

pub(super) fn heading(text: &str) {
    println!("\n{text}\n{}", "─".repeat(text.chars().count()));
}
