//! The relay while a transaction is held open, against the relay without it.
//!
//! While a transaction is open, Postgres cannot remove row versions that died after its start. A relay that updated rows would
//! leave more and more of them behind, and scans over them would get slower and slower.

use anyhow::Result;
use messaging::TransportConfig;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::Plan;
use crate::backlog::{Backlog, Course};
use crate::report::{Limit, Row, mean};
use crate::system::{Database, System};

/// Enough for a relay that slows down to show it.
const EVENTS: u64 = 300_000;
/// Runs with the transaction. Runs without it are one more: before, between and after.
const RUNS: usize = 2;
const AIM: f64 = 0.95;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let backlog = Backlog::new(system, plan.share(EVENTS)).await?;
    let database = system.database("ours").await?;
    let mut free = vec![drain(system, &database, &backlog).await?];
    let mut held = Vec::new();
    for _ in 0..RUNS {
        held.push(drain_beside_a_transaction(system, &database, &backlog).await?);
        free.push(drain(system, &database, &backlog).await?);
    }
    system.drop(database).await?;
    let rates = |runs: &[Course]| runs.iter().map(Course::per_second).collect::<Result<Vec<_>>>();
    let courses = |runs: &[Course]| runs.iter().map(Course::json).collect::<Vec<_>>();
    let details = json!({ "held": courses(&held), "free": courses(&free) });
    let ours = mean(&rates(&held)?);
    let limit = Limit::new("the same without the transaction", rates(&free)?, AIM);
    Ok(vec![Row::ratio("relay, Postgres queue, beside an open transaction (events)".to_owned(), ours, limit, details)])
}

async fn drain(system: &System, database: &Database, backlog: &Backlog) -> Result<Course> {
    backlog.fill(database).await?;
    backlog.drain(system, database, TransportConfig::default()).await
}

async fn drain_beside_a_transaction(system: &System, database: &Database, backlog: &Backlog) -> Result<Course> {
    backlog.fill(database).await?;
    let mut session = PgConnection::connect(&database.url).await?;
    let mut transaction = session.begin().await?;
    // Holds a transaction id and a snapshot, as a forgotten report or a broken client does.
    sqlx::raw_sql("set transaction isolation level repeatable read; select pg_current_xact_id()")
        .execute(&mut *transaction)
        .await?;
    let course = backlog.drain(system, database, TransportConfig::default()).await?;
    transaction.rollback().await?;
    session.close().await?;
    Ok(course)
}
