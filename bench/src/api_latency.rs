//! The latency of commands under a moderate load, while events flow to the read models.

use anyhow::{Result, ensure};
use messaging::TransportConfig;
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::{self, Load, Pace};
use crate::report::{Figure, Row};
use crate::requests::{self, Stock};
use crate::system::System;

const CONNECTIONS: u32 = 64;
const PER_SECOND: f64 = 1_000.0;
/// Requirement R13, in milliseconds.
const AIM_P95: f64 = 200.0;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    database.seed_orders(&sample, plan.orders).await?;
    database.settle().await?;
    let per_second = if plan.quick { PER_SECOND / 10.0 } else { PER_SECOND };
    let stock = Stock::new(1, plan.orders);
    let work = async |address| {
        let load = Load {
            address,
            connections: CONNECTIONS,
            pace: Pace::Open { per_second },
            warm_up: plan.warm_up,
            measure: plan.measure,
        };
        load::run(load, || requests::mixing(&stock)).await
    };
    // Without the workers: two hundred invoices a second are a measurement of their own.
    let parts = [Part::Command, Part::Relay, Part::Query];
    let measured = system.during(&database, &parts, TransportConfig::default(), work).await?;
    let rows = database.outbox_rows().await?;
    ensure!(rows == measured.answered, "{} answers, but {rows} outbox rows", measured.answered);
    system.drop(database).await?;

    let latencies = &measured.latencies;
    let figures = vec![
        Figure::new("p50", latencies.per_mille(500)),
        Figure::new("p95", latencies.per_mille(950)).at_most(AIM_P95),
        Figure::new("p99", latencies.per_mille(990)),
        Figure::new("max", latencies.max()),
    ];
    let what = format!("API latency at {per_second} mixed commands/s");
    let details = json!({ "answered_per_second": measured.per_second, "latency": latencies.json() });
    Ok(vec![Row::figures(what, "ms", figures, details)])
}
