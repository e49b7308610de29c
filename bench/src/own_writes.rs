//! Reading one's own write, before and while a snapshot is held open.
//!
//! A customer places an order and reads it with the consistency token of the answer. The time is that of the read alone. The
//! projector must have applied the order by then, so the time contains the way from the commit to the read model.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::Pace;
use crate::report::{Figure, Row, mean};
use crate::slice::Slice;
use crate::snapshot::Snapshot;
use crate::system::{Database, System};
use crate::traffic::{Traffic, Turn};

pub(crate) const CONNECTIONS: u32 = 64;
pub(crate) const PER_SECOND: f64 = 700.0;
const QUICK_PER_SECOND: f64 = 100.0;
/// Without and with the snapshot, in turns: A B A B.
const ROUNDS: usize = 2;
/// The workers launch their browser meanwhile, which nothing here needs.
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURE: Duration = Duration::from_secs(60);
const AIM_RATIO: f64 = 2.0;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let sample = system.sample_order().await?;
    let database = system.database("ours").await?;
    database.seed_orders(&sample, plan.orders).await?;
    database.seed_read_model(&sample, plan.orders).await?;
    database.settle().await?;
    let per_second = if plan.quick { QUICK_PER_SECOND } else { PER_SECOND };
    let options = system.options_without_effects(&database, &[Part::Command, Part::Relay, Part::Workers, Part::Query]);
    let (without, with) =
        System::run(options, async |address| turns(&database, address, per_second, plan).await).await?;
    system.drop(database).await?;

    let at = |slices: &[Slice], share| {
        let all: Vec<f64> = slices.iter().map(|slice: &Slice| slice.reads.per_mille(share)).collect();
        mean(&all)
    };
    let (p50, p99) = (at(&without, 500), at(&without, 990));
    let (held_p50, held_p99) = (at(&with, 500), at(&with, 990));
    let figures = vec![
        Figure::new("p50", p50),
        Figure::new("p99", p99),
        Figure::new("snapshot p50", held_p50),
        Figure::new("snapshot p99", held_p99),
    ];
    let ratios = vec![
        Figure::new("p50", held_p50 / p50).at_most(AIM_RATIO),
        Figure::new("p99", held_p99 / p99).at_most(AIM_RATIO),
    ];
    let json = |slices: &[Slice]| slices.iter().map(Slice::json).collect::<Vec<_>>();
    let details = json!({ "without": json(&without), "with_snapshot": json(&with) });
    let what = format!("reading one's own write at {per_second} orders/s");
    Ok(vec![
        Row::figures(what.clone(), "ms", figures, details),
        Row::figures(format!("{what}, with a snapshot against without"), "×", ratios, json!({})),
    ])
}

async fn turns(
    database: &Database,
    address: SocketAddr,
    per_second: f64,
    plan: &Plan,
) -> Result<(Vec<Slice>, Vec<Slice>)> {
    let lasts = if plan.quick { plan.measure } else { MEASURE };
    let traffic = Traffic::new(address, CONNECTIONS, Pace::Open { per_second }, Turn::OwnWrite).start();
    tokio::time::sleep(if plan.quick { plan.warm_up } else { WARM_UP }).await;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(Slice::measure(&traffic, lasts).await?);
        let snapshot = Snapshot::open(&database.url).await?;
        with.push(Slice::measure(&traffic, lasts).await?);
        snapshot.close().await?;
    }
    traffic.stop().await?;
    Ok((without, with))
}
