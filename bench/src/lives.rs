//! Millions of orders through their whole lives in one run, as fast as the machine can. Not part of the default run.
//!
//! Customers place, pay and return orders over HTTP; relay, workers, projector and gateway do the rest. Refunds are paid by the
//! real worker. Documents and e-mails are made for one order in a thousand; for the others their jobs do nothing. Retention is short
//! and partitions are narrow, so partitions are made and dropped all the time.
//!
//! The customers are held back while more than [`MOST_OPEN`] lives wait for their refunds or e-mails: how long is part of the
//! figures. So commands cannot outrun the workers, and the speed is that of the whole system.

mod tenth;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use messaging::RetentionConfig;
use messaging::inbox::Job;
use serde::Deserialize;
use serde_json::{Value, json};
use standalone::Part;
use uuid::Uuid;

use crate::figures::{Figures, compare};
use crate::load::Pace;
use crate::operators::Operators;
use crate::report;
use crate::requests::place_small;
use crate::settled::until_settled;
use crate::system::{Database, System, counter};
use crate::traffic::{Gate, Traffic, Turn};

use tenth::Tenth;

/// Customers at a time. They wait for the read models most of the time.
const CONNECTIONS: u32 = 128;
/// Jobs at a time in each queue.
const SLOTS: u16 = 32;
const MOST_OPEN: u64 = 2_000;
/// Jobs of the queue `notifications` in one life: order created and paid, return approved, refund processed.
const NOTIFICATIONS: u64 = 4;
/// One order in so many gets its documents and e-mails.
const EFFECTS: u128 = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LAG_EVERY: Duration = Duration::from_secs(1);

/// Millions of orders through their whole lives.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Orders
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(100..))]
    orders: u64,
    /// Minutes for which outbox and inbox are kept; a partition holds an eighth of that time
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=1_440))]
    retention_minutes: u64,
}

/// Runs all of it; writes `lives.json`.
pub(crate) async fn run(folder: &Path, options: &Options) -> Result<()> {
    let system = System::start(folder).await?;
    let measured = measure(&system, options).await;
    system.stop().await?;
    let file = folder.join("lives.json");
    std::fs::write(&file, serde_json::to_string_pretty(&measured?)? + "\n")?;
    println!("\n{}", file.display());
    Ok(())
}

async fn measure(system: &System, options: &Options) -> Result<Value> {
    let circumstances = report::circumstances(system, false).await?;
    let keep = Duration::from_secs(options.retention_minutes * 60);
    let retention = RetentionConfig { keep, partition_width: None };
    let database = system.database("lives").await?;
    narrow_partitions(&database, retention).await?;
    let operators = Operators::new(&database, retention).await?;

    let mut services = system.options(&database, &Part::ALL);
    services.relay.retention = retention;
    services.workers.chooses = Some(is_one_of_many);
    services.workers.notification_slots = SLOTS;
    services.workers.invoice_slots = SLOTS;
    services.workers.credit_note_slots = SLOTS;
    services.workers.refund_slots = SLOTS;
    let started = Instant::now();
    let tenths = System::run(services, async |address| {
        let gate = Arc::new(Gate::default());
        let traffic = Traffic::new(address, CONNECTIONS, Pace::Closed, Turn::WholeLife);
        let traffic =
            Traffic { order: place_small(), orders: Some(options.orders), gate: Arc::clone(&gate), ..traffic };
        let tenths = live(&database, &operators, traffic, &gate, options.orders).await?;
        until_settled(&database).await?;
        Ok(tenths)
    })
    .await?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let (refunds, documents): (i64, i64) = sqlx::query_as(
        "select (select count(*) from command.refunds where status = 'PROCESSED'), (select count(*) from work.invoices)",
    )
    .fetch_one(&database.pool)
    .await?;
    ensure!(u64::try_from(refunds)? == options.orders, "{refunds} refunds are processed");
    println!("\n{} orders and their refunds in {minutes:.1} minutes, {documents} invoices", options.orders);
    let not_flat = summary(&tenths);
    Ok(json!({
        "circumstances": circumstances, "orders": options.orders, "retention_minutes": options.retention_minutes,
        "minutes": minutes, "invoices": documents, "not_flat": not_flat,
        "tenths": tenths.iter().map(Figures::json).collect::<Vec<_>>(),
    }))
}

/// A new database has the partitions of the default retention, and none narrower is made where they are.
async fn narrow_partitions(database: &Database, retention: RetentionConfig) -> Result<()> {
    sqlx::raw_sql(include_str!("../sql/drop_partitions.sql")).execute(&database.pool).await?;
    sqlx::query(
        "select messaging.ensure_partitions($1 * interval '1 second', $2 * interval '1 second', $1 * interval '1 second')",
    )
    .bind(retention.width().as_secs_f64())
    .bind(retention.ahead().as_secs_f64())
    .execute(&database.pool)
    .await?;
    Ok(())
}

/// Whether a job is about one of the orders that get documents and e-mails. An order's jobs are chosen together, because a
/// credit note needs the invoice.
fn is_one_of_many(job: &Job) -> bool {
    #[derive(Deserialize)]
    struct Event {
        snapshot: Subject,
    }
    #[derive(Deserialize)]
    struct Subject {
        id: Uuid,
        order_id: Option<Uuid>,
    }
    // A job that cannot be read is the handler's to refuse.
    serde_json::from_str::<Event>(job.payload.get())
        .is_ok_and(|event| event.snapshot.order_id.unwrap_or(event.snapshot.id).as_u128() % EFFECTS == 0)
}

async fn live(
    database: &Database,
    operators: &Operators,
    traffic: Traffic,
    gate: &Gate,
    orders: u64,
) -> Result<Vec<Figures>> {
    let (commands, traffic) = (traffic.turn.commands(), traffic.start());
    let (mut tenths, mut done, mut lag_at) = (Vec::new(), 0, Instant::now());
    let refunds_before = jobs_done("refunds")?;
    let notifications_before = jobs_done("notifications")?;
    let mut tenth = Tenth::start(database).await?;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let has_ended = traffic.has_ended();
        let tally = traffic.take_last();
        done += tally.orders;
        tenth.count(tally);
        let refunded = jobs_done("refunds")? - refunds_before;
        let notified = (jobs_done("notifications")? - notifications_before) / NOTIFICATIONS;
        let is_held_back = done.saturating_sub(refunded.min(notified)) > MOST_OPEN;
        gate.close(is_held_back);
        tenth.held_back(is_held_back, LOOK_EVERY);
        if lag_at.elapsed() >= LAG_EVERY {
            lag_at = Instant::now();
            tenth.lag(operators.status().await?.1);
        }
        if has_ended {
            traffic.end().await?;
            ensure!(done == orders, "{done} of {orders} orders were taken through their lives");
            tenths.push(told(tenths.len(), tenth.end(database, commands).await?));
            return Ok(tenths);
        }
        if tenths.len() < 9 && done >= orders * (tenths.len() as u64 + 1) / 10 {
            tenths.push(told(tenths.len(), tenth.end(database, commands).await?));
            tenth = Tenth::start(database).await?;
        }
    }
}

fn told(before: usize, figures: Figures) -> Figures {
    println!("tenth {}: {}", before + 1, figures.line(&tenth::SHOWN));
    figures
}

/// Prints the first and the last tenth, and returns what is not flat.
fn summary(tenths: &[Figures]) -> Vec<String> {
    let [first, .., last] = tenths else { return Vec::new() };
    let (table, not_flat) = compare(&[("first", first), ("last", last)]);
    println!("{table}");
    not_flat
}

/// Jobs of a queue that workers of this process have done so far.
fn jobs_done(queue: &str) -> Result<u64> {
    counter(&format!(r#"inbox_jobs_total{{queue="{queue}",outcome="done"}}"#))
}

#[cfg(test)]
mod tests {
    use contracts::{Headers, Queue};

    use super::*;

    fn job(snapshot: &Value) -> Job {
        Job {
            queue: Queue::Notifications,
            event_id: Uuid::nil(),
            event_type: String::new(),
            aggregate_type: String::new(),
            aggregate_id: Uuid::nil(),
            aggregate_version: 1,
            payload: serde_json::value::to_raw_value(&json!({ "snapshot": snapshot })).expect("JSON"),
            headers: Headers::default(),
            undecodable: None,
            unknown: None,
            occurred_at: chrono::DateTime::UNIX_EPOCH,
            received_at: chrono::DateTime::UNIX_EPOCH,
            started_at: None,
            is_first: true,
            attempts: 1,
            deaths: 0,
            probes: None,
            in_doubt: false,
            claim_id: Uuid::nil(),
            ordered: false,
        }
    }

    #[test]
    fn the_jobs_of_an_order_are_chosen_together() {
        for (order, chosen) in [(7_000, true), (7_001, false)] {
            let (order, other) = (Uuid::from_u128(order), Uuid::from_u128(5));
            assert_eq!(is_one_of_many(&job(&json!({ "id": order }))), chosen);
            assert_eq!(is_one_of_many(&job(&json!({ "id": other, "order_id": order }))), chosen);
        }
    }
}
