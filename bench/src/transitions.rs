//! Transitions over HTTP, against the textbook transaction and against the same statement without HTTP.
//!
//! The second is the limit of this machine for our rows: the statement of the service in batches of 64, on as many connections as
//! it has batchers, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use command::without_http::OrderSteps;
use contracts::OrderState;
use messaging::TransportConfig;
use runtime::config::DatabaseConfig;
use runtime::{Clock, Ids, Tasks};
use serde_json::json;
use sqlx::PgPool;
use standalone::Part;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Plan;
use crate::load::{self, Load, Measured};
use crate::report::{Limit, Row};
use crate::requests::{self, Stock};
use crate::system::{Database, System, between_limits};

/// Connections, and the ratio to the textbook transaction to aim at.
const CONNECTIONS: [(u32, f64); 2] = [(64, 5.0), (256, 8.0)];
/// Orders in a batch without HTTP. The default of `COMMAND_BATCH`.
const BATCH: usize = 64;
/// More clients than this do not make `pgbench` faster on a small machine: they wait for the same disk.
const CLIENTS: u32 = 64;
const STEPS: [OrderState; 4] =
    [OrderState::Paid, OrderState::ProcessingInWarehouse, OrderState::Shipped, OrderState::Delivered];
const STOP: Duration = Duration::from_secs(20);
/// Of the statement without HTTP, at the most connections.
const AIM: f64 = 0.75;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let (ours, textbook) = (system.database("ours").await?, system.database("textbook").await?);
    let bare = system.database("bare").await?;
    for database in [&ours, &textbook] {
        database.seed_orders(&sample, plan.orders).await?;
    }
    // Two runs, each with its own orders.
    bare.seed_orders(&sample, 2 * plan.orders).await?;
    textbook.add_helpers().await?;
    let pgbench =
        system.pgbench(&textbook, include_str!("../sql/transition.sql"), CLIENTS)?.define("orders", plan.orders);
    let limit = async || {
        textbook.settle().await?;
        pgbench.run(plan).await
    };
    let runs = AtomicU64::new(0);
    let bare_limit = async || {
        let first = runs.fetch_add(plan.orders, Ordering::Relaxed) + 1;
        without_http(&bare, &Stock::new(first, first + plan.orders - 1), plan).await
    };
    let work = async |address| {
        let measured = async || all(address, &ours, plan).await;
        between_limits(limit, async || between_limits(bare_limit, measured).await).await
    };
    let (limits, (bare_limits, measured)) =
        system.during(&ours, &[Part::Command], TransportConfig::default(), work).await?;

    let answered: u64 = measured.iter().map(|measured| measured.answered).sum();
    check(&ours, answered).await?;
    let rows = textbook.outbox_rows().await?;
    ensure!(rows == pgbench.processed(), "pgbench counted {} transitions, the outbox has {rows}", pgbench.processed());
    for database in [ours, textbook, bare] {
        system.drop(database).await?;
    }
    let what = |connections| format!("transitions over HTTP, {connections} connections");
    let mut rows = Vec::new();
    for ((connections, aim), measured) in CONNECTIONS.iter().zip(&measured) {
        let limit = Limit::new(format!("pgbench, textbook transaction, {CLIENTS} clients"), limits.clone(), *aim);
        let details = json!({ "latency": measured.latencies.json(), "seeded_orders": plan.orders });
        rows.push(Row::ratio(what(*connections), measured.per_second, limit, details));
    }
    if let (Some((connections, _)), Some(measured)) = (CONNECTIONS.last(), measured.last()) {
        let limit = Limit::new(format!("the same statement without HTTP, batches of {BATCH}"), bare_limits, AIM);
        rows.push(Row::ratio(what(*connections), measured.per_second, limit, json!({})));
    }
    Ok(rows)
}

/// Transitions per second of the statement alone, after a warm-up. Each connection takes one batch of orders after the other
/// through all their steps.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn without_http(database: &Database, stock: &Arc<Stock>, plan: &Plan) -> Result<f64> {
    database.settle().await?;
    let config = DatabaseConfig { database_url: database.url.clone().into(), ..DatabaseConfig::default() };
    let pool = runtime::database::connect(&config, Some("articurated_command"), "bench").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let settings = command::Settings::default();
    let steps = OrderSteps::new(pool.clone(), &settings, Clock::system(), Ids::system(), &tasks);
    let (steps, from) = (Arc::new(steps), Instant::now() + plan.warm_up);
    let mut connections = JoinSet::new();
    for _ in 0..settings.command_batchers {
        connections.spawn(walk(pool.clone(), Arc::clone(&steps), Arc::clone(stock), from, from + plan.measure));
    }
    let mut changed = 0;
    while let Some(walked) = connections.join_next().await {
        changed += walked??;
    }
    ensure!(changed > 0, "there were too few orders to measure");
    // The stock may run out before the time does.
    let seconds = from.elapsed().min(plan.measure).as_secs_f64();
    tasks.drain(STOP).await?;
    Ok(changed as f64 / seconds)
}

/// Returns how many transitions were answered in the measured time.
async fn walk(pool: PgPool, steps: Arc<OrderSteps>, stock: Arc<Stock>, from: Instant, until: Instant) -> Result<usize> {
    let (mut connection, mut counted) = (pool.acquire().await?, 0);
    loop {
        let orders: Vec<Uuid> = (0..BATCH).map_while(|_| stock.take()).map(|id| Uuid::from_u128(id.into())).collect();
        if orders.len() < BATCH {
            return Ok(counted);
        }
        for to in STEPS {
            let changed = steps.execute(&mut connection, &orders, to).await?;
            ensure!(changed == BATCH, "{changed} of {BATCH} orders became {to:?}");
            match Instant::now() {
                now if now >= until => return Ok(counted),
                now if now >= from => counted += changed,
                _ => {}
            }
        }
    }
}

/// One measurement per number of connections, each with its own orders.
async fn all(address: SocketAddr, ours: &Database, plan: &Plan) -> Result<Vec<Measured>> {
    let share = plan.orders / CONNECTIONS.len() as u64;
    let mut first = 1;
    let mut all = Vec::new();
    for (connections, _) in CONNECTIONS {
        ours.settle().await?;
        let stock = Stock::new(first, first + share - 1);
        first += share;
        let load = Load::closed(address, connections, plan);
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
