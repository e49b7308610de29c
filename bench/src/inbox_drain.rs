//! Empty jobs, by a worker, against a bare `skip locked` statement.
//!
//! A worker claims its jobs with their events, and records in one commit all those that have ended since the last one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use contracts::{EventType, Queue};
use messaging::inbox::Job;
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Isolation, Worker, WorkerConfig};
use runtime::Tasks;
use runtime::telemetry::MessagingSystem;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use crate::Plan;
use crate::backlog::Backlog;
use crate::report::{Limit, Row};
use crate::system::{Database, System, between_limits, counter};

/// The same as in `drain.sql`, and in the name of the counter.
const QUEUE: Queue = Queue::Notifications;
const DONE: &str = r#"inbox_jobs_total{queue="notifications",outcome="done"}"#;
const JOBS: u64 = 200_000;
const BATCH: i64 = 1_000;
const SLOTS: usize = 64;
const STOP: Duration = Duration::from_secs(20);
const AIM: f64 = 0.4;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let jobs = Backlog::new(system, 2 * plan.share(JOBS)).await?;
    let database = system.database("ours").await?;
    let by_hand = async || {
        deliver(&jobs, &database).await?;
        take_by_hand(&database, plan).await
    };
    let ours = async || {
        deliver(&jobs, &database).await?;
        work(&database, &jobs, plan).await
    };
    let (limits, ours) = between_limits(by_hand, ours).await?;
    system.drop(database).await?;
    let limit = Limit::new(format!("skip locked by hand, batches of {BATCH}"), limits, AIM);
    let what = format!("inbox drained, worker, {SLOTS} slots (jobs)");
    Ok(vec![Row::ratio(what, ours, limit, json!({ "jobs": jobs.messages_of(QUEUE) }))])
}

/// Makes the half of the backlog that goes to the queue its jobs; it has no others.
async fn deliver(jobs: &Backlog, database: &Database) -> Result<()> {
    jobs.fill(database).await?;
    sqlx::query(
        "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
         select $1, event_id, aggregate_id, aggregate_version, clock_timestamp() from messaging.outbox
         where event_type = $2 order by position",
    )
    .bind(QUEUE.as_str())
    .bind(EventType::OrderCreated.as_str())
    .execute(&database.pool)
    .await?;
    sqlx::raw_sql("vacuum analyze messaging.inbox").execute(&database.pool).await?;
    database.settle().await
}

/// Jobs per second until the queue is empty or the measured time is over.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn take_by_hand(database: &Database, plan: &Plan) -> Result<f64> {
    let (started, mut done, mut from) = (Instant::now(), 0, DateTime::UNIX_EPOCH);
    while started.elapsed() < plan.measure {
        let statement = sqlx::query(include_str!("../sql/drain.sql")).bind(BATCH).bind(from);
        let taken = statement.fetch_all(&database.pool).await?;
        if taken.is_empty() {
            break;
        }
        done += taken.len();
        for job in &taken {
            from = from.max(job.try_get::<DateTime<Utc>, _>("run_at")?);
        }
    }
    ensure!(done > 0, "there was nothing to do");
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

/// A handler that does nothing.
#[derive(Debug)]
struct Idle;

impl Handler for Idle {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        Ok(Completed::new(Value::Null))
    }
}

async fn work(database: &Database, jobs: &Backlog, plan: &Plan) -> Result<f64> {
    let pool = database.workers().await?;
    let config = WorkerConfig {
        queue: QUEUE,
        system: MessagingSystem::Postgresql,
        slots: SLOTS,
        policy: RetryPolicy::DOCUMENTS,
        owner: "bench".to_owned(),
        isolation: Isolation::new(),
        patience: messaging::worker::PATIENCE,
        relay: None,
    };
    let all = counter(DONE)? + jobs.messages_of(QUEUE);
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("worker", Worker::new(pool, config, Idle).run(tasks.clone()));
    let rate = watch(all, plan).await;
    tasks.drain(STOP).await?;
    rate
}

/// The worker's own counter tells its progress.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn watch(all: u64, plan: &Plan) -> Result<f64> {
    tokio::time::sleep(plan.warm_up).await;
    let (started, before) = (Instant::now(), counter(DONE)?);
    while started.elapsed() < plan.measure && counter(DONE)? < all {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok((counter(DONE)? - before) as f64 / started.elapsed().as_secs_f64())
}
