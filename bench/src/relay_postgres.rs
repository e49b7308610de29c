//! The relay over the Postgres queue against a bare statement that copies the same rows into the inbox.

use std::time::Instant;

use anyhow::{Result, ensure};
use contracts::Queue;
use messaging::TransportConfig;
use serde_json::json;

use crate::Plan;
use crate::backlog::Backlog;
use crate::report::{Limit, Row};
use crate::system::{Database, System, between_limits};

const EVENTS: u64 = 100_000;
/// The default of `RELAY_BATCH`.
const BATCH: i64 = 1_000;
const AIM: f64 = 0.7;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let backlog = Backlog::new(system, plan.share(EVENTS)).await?;
    let database = system.database("ours").await?;
    let ours = async || {
        backlog.fill(&database).await?;
        let course = backlog.drain(system, &database, TransportConfig::default()).await?;
        ensure!(
            inbox_rows(&database).await? == backlog.messages(),
            "an event is missing in the inbox of a subscribed queue"
        );
        Ok(course)
    };
    let (limits, course) = between_limits(async || copy(&backlog, &database).await, ours).await?;
    system.drop(database).await?;
    let limit = Limit::new(format!("insert … select, {BATCH} events at a time"), limits, AIM);
    let details = json!({ "inbox_rows": backlog.messages(), "course": course.json() });
    Ok(vec![Row::ratio("relay, Postgres queue (events)".to_owned(), course.per_second()?, limit, details)])
}

/// Copies the backlog, one commit per batch; returns events per second.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn copy(backlog: &Backlog, database: &Database) -> Result<f64> {
    backlog.fill(database).await?;
    let (events, queues): (Vec<&str>, Vec<&str>) =
        Queue::routes().map(|(event, queue)| (event.as_str(), queue.as_str())).unzip();
    let (first, last): (i64, i64) =
        sqlx::query_as("select min(position), max(position) from messaging.outbox").fetch_one(&database.pool).await?;
    let mut connection = database.pool.acquire().await?;
    let started = Instant::now();
    for position in (first..=last).step_by(usize::try_from(BATCH)?) {
        sqlx::query(include_str!("../sql/copy.sql"))
            .bind(&events)
            .bind(&queues)
            .bind(position)
            .bind(position + BATCH - 1)
            .execute(&mut *connection)
            .await?;
    }
    let rate = backlog.events as f64 / started.elapsed().as_secs_f64();
    ensure!(inbox_rows(database).await? == backlog.messages(), "the limit did not copy every row");
    Ok(rate)
}

async fn inbox_rows(database: &Database) -> Result<u64> {
    let rows: i64 = sqlx::query_scalar("select count(*) from messaging.inbox").fetch_one(&database.pool).await?;
    Ok(u64::try_from(rows)?)
}
