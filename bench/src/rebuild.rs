//! A rebuild of the read models from a long log: alone, and beside traffic.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use messaging::TransportConfig;
use query::OnLoss;
use runtime::config::DatabaseConfig;
use runtime::{Ids, database};
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::{self, Load, Pace};
use crate::report::{Figure, Limit, Row};
use crate::requests;
use crate::system::{Database, System, between_limits};

const EVENTS: u64 = 500_000;
/// Orders placed per second during the rebuild, and the number of connections.
const TRAFFIC: f64 = 200.0;
const CONNECTIONS: u32 = 16;
const AIM_PER_SECOND: f64 = 20_000.0;
const AIM: f64 = 0.5;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    let events = plan.share(EVENTS);
    database.seed_outbox(&sample, events).await?;
    // Relay and projector have passed all of them.
    let passed = "insert into messaging.marks (consumer, shard, epoch, mark)
                  select consumer, shard, 0, (select max(position) from messaging.outbox) from messaging.shard_leases";
    sqlx::query(passed).execute(&database.pool).await?;
    sqlx::raw_sql("vacuum analyze").execute(&database.pool).await?;
    database.settle().await?;

    let (limits, alone) =
        between_limits(async || by_one_statement(&database, events).await, async || rebuild(&database).await).await?;
    ensure!(alone.events == events, "{} of {events} events were read", alone.events);
    let beside = beside_traffic(system, &database, plan).await?;
    system.drop(database).await?;

    let what = format!("read models rebuilt from {events} events");
    let limit = Limit::new("one statement each for documents and history", limits, AIM);
    let figures = vec![
        Figure::new("alone", per_second(&alone)),
        Figure::new("beside traffic", per_second(&beside)).at_least(AIM_PER_SECOND),
    ];
    let details = json!({ "orders_per_second_meanwhile": TRAFFIC, "events_beside_traffic": beside.events });
    Ok(vec![
        Row::ratio(what.clone(), per_second(&alone), limit, json!({})),
        Row::figures(format!("{what} while {TRAFFIC} orders are placed per second"), "/s", figures, details),
    ])
}

async fn rebuild(database: &Database) -> Result<query::Rebuilt> {
    let config = DatabaseConfig { database_url: database.url.clone().into(), ..DatabaseConfig::default() };
    let pool = database::connect(&config, Some("articurated_query"), "bench rebuild").await?;
    Ok(query::rebuild(pool, None, Ids::system().next(), OnLoss::Fail).await?)
}

/// Orders arrive during the whole rebuild and for a while after it.
async fn beside_traffic(system: &System, database: &Database, plan: &Plan) -> Result<query::Rebuilt> {
    let work = async |address| {
        let load = Load {
            address,
            connections: CONNECTIONS,
            pace: Pace::Open { per_second: TRAFFIC },
            warm_up: Duration::from_secs(1),
            measure: if plan.quick { Duration::from_secs(5) } else { Duration::from_secs(45) },
        };
        let (rebuilt, measured) = tokio::try_join!(rebuild(database), load::run(load, requests::placing))?;
        ensure!(rebuilt.loaded_in < load.measure, "the traffic ended before the rebuild did");
        ensure!(measured.per_second > TRAFFIC * 0.9, "only {:.0} orders were placed per second", measured.per_second);
        Ok(rebuilt)
    };
    let parts = [Part::Command, Part::Relay, Part::Query];
    system.during(database, &parts, TransportConfig::default(), work).await
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn by_one_statement(database: &Database, events: u64) -> Result<f64> {
    let started = Instant::now();
    sqlx::raw_sql(include_str!("../sql/rebuild.sql")).execute(&database.pool).await?;
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn per_second(rebuilt: &query::Rebuilt) -> f64 {
    rebuilt.events as f64 / rebuilt.loaded_in.as_secs_f64()
}
