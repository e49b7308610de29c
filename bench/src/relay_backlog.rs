//! A long backlog: how fast the relay drains it, and whether it slows down towards the end.

use anyhow::Result;
use messaging::TransportConfig;
use serde_json::Value;

use crate::Plan;
use crate::backlog::Backlog;
use crate::report::{Figure, Limit, Row};
use crate::system::System;

const EVENTS: u64 = 1_000_000;
const AIM: f64 = 0.9;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let backlog = Backlog::new(system, plan.share(EVENTS)).await?;
    let database = system.database("ours").await?;
    backlog.fill(&database).await?;
    let course = backlog.drain(system, &database, TransportConfig::default()).await?;
    system.drop(database).await?;
    let what = format!("relay, Postgres queue, backlog of {} events", backlog.events);
    let figures = vec![Figure::new("whole run", course.per_second()?)];
    let limit = Limit::new("its first tenth", vec![course.between(0, 1)?], AIM);
    Ok(vec![
        Row::figures(what.clone(), "/s", figures, course.json()),
        Row::ratio(format!("{what}, its last tenth"), course.between(9, 10)?, limit, Value::Null),
    ])
}
