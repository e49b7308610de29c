//! Empty jobs, by a worker and by a batch consumer, against a bare `skip locked` statement.
//!
//! A worker runs each job in a transaction of its own, with its effect. A batch consumer such as the projector shares one
//! transaction among many jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use contracts::Queue;
use messaging::inbox::{self, Job};
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Worker, WorkerConfig};
use runtime::Tasks;
use runtime::config::DatabaseConfig;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::Plan;
use crate::backlog::Backlog;
use crate::report::{Limit, Row};
use crate::system::{Database, System, between_limits};

/// The same as in `drain.sql`.
const QUEUE: Queue = Queue::Notifications;
const JOBS: u64 = 200_000;
const BATCH: i64 = 1_000;
const SLOTS: usize = 64;
const CONNECTIONS: u32 = 32;
const STOP: Duration = Duration::from_secs(20);
const AIM: f64 = 0.7;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let jobs = Backlog::new(system, plan.share(JOBS)).await?;
    let database = system.database("ours").await?;
    let by_hand = async || {
        deliver(&jobs, &database).await?;
        rate(plan, async || take_by_hand(&database).await).await
    };
    let ours = async || {
        deliver(&jobs, &database).await?;
        let worker = work(&database, &jobs, plan).await?;
        deliver(&jobs, &database).await?;
        let batches = rate(plan, async || take_batch(&database).await).await?;
        anyhow::Ok([(format!("worker, {SLOTS} slots"), worker), ("batch consumer".to_owned(), batches)])
    };
    let (limits, ours) = between_limits(by_hand, ours).await?;
    system.drop(database).await?;
    let row = |(who, rate)| {
        let limit = Limit::new(format!("skip locked by hand, batches of {BATCH}"), limits.clone(), AIM);
        Row::ratio(format!("inbox drained, {who} (jobs)"), rate, limit, json!({ "jobs": jobs.events }))
    };
    Ok(ours.map(row).into())
}

/// Makes every event of the backlog a job of the queue, which has no other jobs.
async fn deliver(jobs: &Backlog, database: &Database) -> Result<()> {
    jobs.fill(database).await?;
    sqlx::query(
        "insert into messaging.inbox
             (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at)
         select $1, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at
         from messaging.outbox",
    )
    .bind(QUEUE.as_str())
    .execute(&database.pool)
    .await?;
    sqlx::raw_sql("vacuum analyze messaging.inbox").execute(&database.pool).await?;
    database.settle().await
}

/// Jobs per second until the queue is empty or the measured time is over.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn rate(plan: &Plan, take: impl AsyncFn() -> Result<usize>) -> Result<f64> {
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < plan.measure {
        match take().await? {
            0 => break,
            taken => done += taken,
        }
    }
    ensure!(done > 0, "there was nothing to do");
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

async fn take_by_hand(database: &Database) -> Result<usize> {
    let statement = sqlx::query(include_str!("../sql/drain.sql")).bind(BATCH);
    Ok(statement.fetch_all(&database.pool).await?.len())
}

async fn take_batch(database: &Database) -> Result<usize> {
    let mut tx = database.pool.begin().await?;
    let jobs = inbox::take_batch(&mut tx, QUEUE, BATCH).await?;
    let ids: Vec<_> = jobs.iter().map(|job| job.event_id).collect();
    inbox::finish_batch(&mut tx, QUEUE, &ids).await?;
    tx.commit().await?;
    Ok(jobs.len())
}

/// Completes each job and counts it.
#[derive(Debug)]
struct Counter {
    pool: PgPool,
    done: Arc<AtomicU64>,
}

impl Handler for Counter {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let mut tx = self.pool.begin().await?;
        let completed = Completed::mark(&mut tx, job, &Value::Null).await?;
        tx.commit().await?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(completed)
    }
}

async fn work(database: &Database, jobs: &Backlog, plan: &Plan) -> Result<f64> {
    let config = DatabaseConfig {
        database_url: database.url.clone().into(),
        max_connections: CONNECTIONS,
        ..DatabaseConfig::default()
    };
    let pool = runtime::database::connect(&config, Some("articurated_workers"), "bench").await?;
    let (dead_jobs, _) = tokio::sync::mpsc::unbounded_channel();
    let config = WorkerConfig {
        queue: QUEUE,
        slots: SLOTS,
        policy: RetryPolicy::DOCUMENTS,
        owner: "bench".to_owned(),
        patience: messaging::worker::PATIENCE,
        dead_jobs,
        relay: None,
    };
    let done = Arc::new(AtomicU64::new(0));
    let counter = Counter { pool: pool.clone(), done: Arc::clone(&done) };
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("worker", Worker::new(pool, config, counter).run(tasks.clone()));
    let rate = watch(&done, jobs.events, plan).await;
    tasks.drain(STOP).await?;
    Ok(rate)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn watch(done: &AtomicU64, all: u64, plan: &Plan) -> f64 {
    let count = || done.load(Ordering::Relaxed);
    tokio::time::sleep(plan.warm_up).await;
    let (started, before) = (Instant::now(), count());
    while started.elapsed() < plan.measure && count() < all {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (count() - before) as f64 / started.elapsed().as_secs_f64()
}
