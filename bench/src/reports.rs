//! Every report over a year of orders.

use std::time::Instant;

use anyhow::Result;
use messaging::TransportConfig;
use serde_json::Value;
use standalone::Part;

use crate::Plan;
use crate::load;
use crate::report::{Figure, Row};
use crate::requests;
use crate::system::System;

/// Requests per report; the median counts.
const TIMES: usize = 11;
const AIM_MS: f64 = 100.0;

/// A period from before the first order to today.
const REPORTS: [(&str, &str); 6] = [
    ("sales, daily", "sales/daily?from=2000-01-01"),
    ("orders by state", "orders-by-state"),
    ("returns by SKU", "returns?from=2000-01-01"),
    ("refunds", "refunds"),
    ("lead times", "lead-times?from=2000-01-01"),
    ("GST, HSN", "gst?from=2000-01-01&section=hsn"),
];

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let database = system.database("ours").await?;
    database.seed_reports(plan.orders).await?;
    database.settle().await?;
    let work = async |address| {
        let mut figures = Vec::new();
        for (name, path) in REPORTS {
            let mut times = Vec::new();
            for _ in 0..TIMES {
                let started = Instant::now();
                load::ask(address, &requests::report(path), 200).await?;
                times.push(started.elapsed().as_secs_f64() * 1_000.0);
            }
            times.sort_by(f64::total_cmp);
            figures.push(Figure::new(name, times[TIMES / 2]).at_most(AIM_MS));
        }
        Ok(figures)
    };
    let figures = system.during(&database, &[Part::Query], TransportConfig::default(), work).await?;
    system.drop(database).await?;
    let what = format!("reports over {} orders, all of them in the period, median of {TIMES}", plan.orders);
    Ok(vec![Row::figures(what, "ms", figures, Value::Null)])
}
