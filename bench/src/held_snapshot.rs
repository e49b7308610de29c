//! Commands, relay, claims and projector together, as fast as they go, with a snapshot held open against without.
//!
//! This is the short form. `bench years` holds the snapshot for ten minutes over ten million settled events.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use standalone::Part;

use crate::Plan;
use crate::load::{Latencies, Pace};
use crate::report::{Figure, Limit, Row, mean};
use crate::slice::Slice;
use crate::snapshot::Snapshot;
use crate::system::System;
use crate::traffic::{Traffic, Turn};

const CONNECTIONS: u32 = 32;
/// Without and with the snapshot, in turns: A B A B A.
const ROUNDS: usize = 2;
/// The workers launch their browser meanwhile, which nothing here needs.
const WARM_UP: Duration = Duration::from_secs(10);
const AIM: f64 = 0.95;
const AIM_P99: f64 = 2.0;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let database = system.database("ours").await?;
    let options = system.options_without_effects(&database, &[Part::Command, Part::Relay, Part::Workers, Part::Query]);
    let (without, with) = System::run(options, async |address| {
        let traffic = Traffic::new(address, CONNECTIONS, Pace::Closed, Turn::UntilDelivered).start();
        tokio::time::sleep(if plan.quick { plan.warm_up } else { WARM_UP }).await;
        let (mut without, mut with) = (vec![Slice::measure(&traffic, plan.measure).await?], Vec::new());
        for _ in 0..ROUNDS {
            let snapshot = Snapshot::open(&database.url).await?;
            with.push(Slice::measure(&traffic, plan.measure).await?);
            snapshot.close().await?;
            without.push(Slice::measure(&traffic, plan.measure).await?);
        }
        traffic.stop().await?;
        Ok((without, with))
    })
    .await?;
    system.drop(database).await?;
    Ok(rows(&without, &with))
}

fn rows(without: &[Slice], with: &[Slice]) -> Vec<Row> {
    let all = |slices: &[Slice], of: fn(&Slice) -> f64| slices.iter().map(of).collect::<Vec<f64>>();
    let ratio = |what: &str, of: fn(&Slice) -> f64| {
        let limit = Limit::new("the same without the snapshot", all(without, of), AIM);
        let what = format!("{what}, all at once, {CONNECTIONS} connections, a snapshot held open");
        Row::ratio(what, mean(&all(with, of)), limit, Value::Null)
    };
    let p99 = |name, of: fn(&Slice) -> &Latencies| {
        let at = |slices: &[Slice]| mean(&slices.iter().map(|slice| of(slice).per_mille(990)).collect::<Vec<_>>());
        Figure::new(name, at(with) / at(without)).at_most(AIM_P99)
    };
    let figures = vec![p99("commands", |slice| &slice.commands), p99("own-write reads", |slice| &slice.reads)];
    let json = |slices: &[Slice]| slices.iter().map(Slice::json).collect::<Vec<_>>();
    let details = json!({ "without": json(without), "with_snapshot": json(with) });
    vec![
        ratio("commands", |slice| slice.commands_per_second),
        ratio("events relayed", |slice| slice.published_per_second),
        ratio("jobs claimed and completed", |slice| slice.jobs_per_second),
        Row::figures("p99 with the snapshot against without".to_owned(), "×", figures, details),
    ]
}
