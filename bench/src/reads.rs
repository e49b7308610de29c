//! `GET /api/v1/orders/{id}` against the same select.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Result;
use messaging::TransportConfig;
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::{self, Load};
use crate::report::{Limit, Row};
use crate::requests;
use crate::system::{System, between_limits};

const CONNECTIONS: u32 = 64;
const AIM: f64 = 0.8;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    database.seed_read_model(&sample, plan.orders).await?;
    database.settle().await?;
    let pgbench =
        system.pgbench(&database, include_str!("../sql/read.sql"), CONNECTIONS)?.define("orders", plan.orders);
    let turn = Arc::new(AtomicU64::new(0));
    let work = async |address| {
        let load = Load::closed(address, CONNECTIONS, plan);
        let reading = async || load::run(load, || requests::reading(&turn, plan.orders)).await;
        between_limits(async || pgbench.run(plan).await, reading).await
    };
    let (limits, measured) = system.during(&database, &[Part::Query], TransportConfig::default(), work).await?;
    system.drop(database).await?;
    let what = format!("GET /orders/{{id}} over HTTP, {CONNECTIONS} connections");
    let limit = Limit::new(format!("pgbench, the same select, {CONNECTIONS} clients"), limits, AIM);
    let details = json!({ "latency": measured.latencies.json(), "seeded_orders": plan.orders });
    Ok(vec![Row::ratio(what, measured.per_second, limit, details)])
}
