//! Orders placed over HTTP against the textbook transaction.

use anyhow::{Result, ensure};
use messaging::TransportConfig;
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::{self, Load};
use crate::report::{Limit, Row};
use crate::requests;
use crate::system::{System, between_limits};

const CONNECTIONS: u32 = 64;
const AIM: f64 = 4.0;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let (ours, textbook) = (system.database("ours").await?, system.database("textbook").await?);
    textbook.add_helpers().await?;
    let pgbench =
        system.pgbench(&textbook, include_str!("../sql/placement.sql"), CONNECTIONS)?.define("document", &sample);
    let limit = async || {
        textbook.settle().await?;
        pgbench.run(plan).await
    };
    let work = async |address| {
        let load = Load::closed(address, CONNECTIONS, plan);
        let placing = async || {
            ours.settle().await?;
            load::run(load, requests::placing).await
        };
        between_limits(limit, placing).await
    };
    let (limits, measured) = system.during(&ours, &[Part::Command], TransportConfig::default(), work).await?;

    for (database, placed) in [(&ours, measured.answered), (&textbook, pgbench.processed())] {
        let (orders, items): (i64, i64) =
            sqlx::query_as("select (select count(*) from command.orders), (select count(*) from command.order_items)")
                .fetch_one(&database.pool)
                .await?;
        let (orders, items, published) = (u64::try_from(orders)?, u64::try_from(items)?, database.outbox_rows().await?);
        ensure!(
            [orders, items, published] == [placed, 2 * placed, placed],
            "{placed} placed, but {orders} orders, {items} items and {published} outbox rows"
        );
    }
    for database in [ours, textbook] {
        system.drop(database).await?;
    }
    let what = format!("orders created over HTTP, {CONNECTIONS} connections");
    let limit = Limit::new(format!("pgbench, textbook transaction, {CONNECTIONS} clients"), limits, AIM);
    let details = json!({ "latency": measured.latencies.json() });
    Ok(vec![Row::ratio(what, measured.per_second, limit, details)])
}
