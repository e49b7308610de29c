//! Transitions over HTTP against the textbook transaction.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use messaging::TransportConfig;
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::{self, Load, Measured, Pace};
use crate::report::{Limit, Row};
use crate::requests::{self, Stock};
use crate::system::{Database, System, between_limits};

const CONNECTIONS: [u32; 2] = [64, 256];
/// More clients than this do not make `pgbench` faster on a small machine: they wait for the same disk.
const CLIENTS: u32 = 64;
const AIM: f64 = 3.0;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let (ours, textbook) = (system.database("ours").await?, system.database("textbook").await?);
    for database in [&ours, &textbook] {
        database.seed_orders(&sample, plan.orders).await?;
    }
    textbook.add_helpers().await?;
    let pgbench =
        system.pgbench(&textbook, include_str!("../sql/transition.sql"), CLIENTS)?.define("orders", plan.orders);
    let limit = async || {
        textbook.settle().await?;
        pgbench.run(plan).await
    };
    let work = async |address| between_limits(limit, async || all(address, &ours, plan).await).await;
    let (limits, measured) = system.during(&ours, &[Part::Command], TransportConfig::default(), work).await?;

    let answered: u64 = measured.iter().map(|measured| measured.answered).sum();
    check(&ours, answered).await?;
    let rows = textbook.outbox_rows().await?;
    ensure!(rows == pgbench.processed(), "pgbench counted {} transitions, the outbox has {rows}", pgbench.processed());
    for database in [ours, textbook] {
        system.drop(database).await?;
    }
    let rows = CONNECTIONS.iter().zip(measured).map(|(connections, measured)| {
        let what = format!("transitions over HTTP, {connections} connections");
        let limit = Limit::new(format!("pgbench, textbook transaction, {CLIENTS} clients"), limits.clone(), AIM);
        let details = json!({ "latency": measured.latencies.json(), "seeded_orders": plan.orders });
        Row::ratio(what, measured.per_second, limit, details)
    });
    Ok(rows.collect())
}

/// One measurement per number of connections, each with its own orders.
async fn all(address: SocketAddr, ours: &Database, plan: &Plan) -> Result<Vec<Measured>> {
    let share = plan.orders / CONNECTIONS.len() as u64;
    let mut first = 1;
    let mut all = Vec::new();
    for connections in CONNECTIONS {
        ours.settle().await?;
        let stock = Stock::new(first, first + share - 1);
        first += share;
        let load = Load { address, connections, pace: Pace::Closed, warm_up: plan.warm_up, measure: plan.measure };
        all.push(load::run(load, || requests::walking(&stock)).await?);
    }
    Ok(all)
}

/// Each response 200 stands for one step of one order, one row in the audit and one in the outbox.
async fn check(ours: &Database, answered: u64) -> Result<()> {
    let (steps, audited): (i64, i64) = sqlx::query_as(
        "select (select sum(version - 1) from command.orders),
                (select count(*) from command.state_transitions where version > 1)",
    )
    .fetch_one(&ours.pool)
    .await?;
    let (steps, audited, published) = (u64::try_from(steps)?, u64::try_from(audited)?, ours.outbox_rows().await?);
    ensure!(
        [steps, audited, published] == [answered; 3],
        "{answered} answers, but {steps} steps, {audited} audit rows and {published} outbox rows"
    );
    Ok(())
}
