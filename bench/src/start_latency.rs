//! The time from a commit to the start of its handler, through relay and inbox, over both transports.
//!
//! It is measured twice: from the commit, whose time Postgres notes just before it writes the log to the disk, and from the
//! event's `occurred_at`, which is taken when the command starts. So the second contains the command as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use contracts::Queue;
use embedded::rabbitmq::{Options, PrivateNode};
use messaging::inbox::Job;
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Isolation, Worker, WorkerConfig};
use messaging::{TransportConfig, intake};
use runtime::telemetry::MessagingSystem;
use runtime::{Clock, Tasks};
use serde_json::Value;
use sqlx::PgPool;
use standalone::Part;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Plan;
use crate::load::{self, Latencies, Load, Pace};
use crate::report::{Figure, Row};
use crate::requests;
use crate::system::{Database, System};

const CONNECTIONS: u32 = 4;
const PER_SECOND: f64 = 50.0;
const WARM_UP: Duration = Duration::from_secs(3);
const MEASURE: Duration = Duration::from_secs(15);
const SLOTS: usize = 4;
/// Longest wait for the last events after the last command.
const ARRIVAL: Duration = Duration::from_secs(20);
/// At most so many milliseconds from the commit: p50 and p99.
const AIMS_POSTGRES: (f64, f64) = (3.0, 8.0);
const AIMS_RABBITMQ: (f64, f64) = (5.0, 10.0);

pub(crate) async fn measure(system: &mut System, plan: &Plan) -> Result<Vec<Row>> {
    system.note_commits(true).await?;
    let rows = over_both(system, plan).await;
    system.note_commits(false).await?;
    rows
}

async fn over_both(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = over(system, plan, "Postgres queue", TransportConfig::default(), AIMS_POSTGRES).await?;
    let options = Options { fresh: true, ..Options::new(system.folder("rabbitmq")) };
    let node = PrivateNode::start(options).await.context("cannot start a private RabbitMQ")?;
    let transport = TransportConfig { rabbitmq_url: Some(node.url().into()) };
    let over_rabbitmq = over(system, plan, "RabbitMQ", transport, AIMS_RABBITMQ).await;
    node.stop().await;
    rows.extend(over_rabbitmq?);
    Ok(rows)
}

async fn over(
    system: &System,
    plan: &Plan,
    name: &str,
    transport: TransportConfig,
    (aim_p50, aim_p99): (f64, f64),
) -> Result<Vec<Row>> {
    let database = system.database("ours").await?;
    let seen = Seen::default();
    let tasks = Tasks::new(CancellationToken::new());
    start_worker(&database.workers().await?, transport.clone(), &seen, &tasks);
    let (warm_up, measure) = if plan.quick { (plan.warm_up, plan.measure) } else { (WARM_UP, MEASURE) };
    let work = async |address| {
        let pace = Pace::Open { per_second: PER_SECOND };
        let load = Load { address, connections: CONNECTIONS, pace, warm_up, measure };
        let measured = load::run(load, requests::placing).await?;
        seen.wait_for(usize::try_from(measured.answered)?).await
    };
    let arrived = system.during(&database, &[Part::Command, Part::Relay], transport, work).await;
    let drained = tasks.drain(ARRIVAL).await;
    arrived?;
    drained?;
    let commits = commits(&database).await?;
    system.drop(database).await?;

    let starts = seen.after(warm_up)?;
    let from_commit: Option<Vec<Duration>> =
        starts.iter().map(|start| Some(since(*commits.get(&start.event_id)?, start.started))).collect();
    let from_commit = Latencies::new(from_commit.context("an event without a commit")?)?;
    let from_command = Latencies::new(starts.iter().map(|start| since(start.occurred, start.started)).collect())?;
    let figure = |latencies: &Latencies, name, share| Figure::new(name, latencies.per_mille(share));
    let hop = vec![
        figure(&from_commit, "p50", 500).at_most(aim_p50),
        figure(&from_commit, "p95", 950),
        figure(&from_commit, "p99", 990).at_most(aim_p99),
        figure(&from_commit, "max", 1_000),
    ];
    let whole = vec![figure(&from_command, "p50", 500), figure(&from_command, "p99", 990)];
    let what = |from| format!("{from} → handler start at {PER_SECOND}/s, {name}");
    Ok(vec![
        Row::figures(what("commit"), "ms", hop, from_commit.json()),
        Row::figures(what("command"), "ms", whole, from_command.json()),
    ])
}

/// When each event was committed.
pub(crate) async fn commits(database: &Database) -> Result<HashMap<Uuid, DateTime<Utc>>> {
    let commits = sqlx::query_as("select event_id, pg_xact_commit_timestamp(xmin) from messaging.outbox");
    Ok(commits.fetch_all(&database.pool).await?.into_iter().collect())
}

/// Zero when the clock was set back meanwhile, so that the start precedes its cause.
fn since(then: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - then).to_std().unwrap_or_default()
}

fn start_worker(pool: &PgPool, transport: TransportConfig, seen: &Seen, tasks: &Tasks) {
    let config = WorkerConfig {
        queue: Queue::Notifications,
        system: MessagingSystem::Postgresql,
        slots: SLOTS,
        policy: RetryPolicy::DOCUMENTS,
        owner: "bench".to_owned(),
        isolation: Isolation::new(),
        patience: messaging::worker::PATIENCE,
        relay: None,
    };
    let stopwatch = Stopwatch { clock: Clock::system(), seen: seen.clone() };
    tasks.spawn("worker", Worker::new(pool.clone(), config, stopwatch).run(tasks.clone()));
    tasks.spawn("intake", intake::run(pool.clone(), transport, Queue::Notifications, tasks.clone()));
}

/// A handler that records the time of its start.
#[derive(Debug)]
struct Stopwatch {
    clock: Clock,
    seen: Seen,
}

impl Handler for Stopwatch {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        self.seen.add(Start { event_id: job.event_id, occurred: job.occurred_at, started: self.clock.now() });
        Ok(Completed::new(Value::Null))
    }
}

#[derive(Debug, Clone, Copy)]
struct Start {
    event_id: Uuid,
    occurred: DateTime<Utc>,
    started: DateTime<Utc>,
}

/// The starts of all handlers so far.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<Start>>>);

impl Seen {
    fn add(&self, start: Start) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(start);
    }

    fn all(&self) -> Vec<Start> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all handlers have started; fails when there are more.
    async fn wait_for(&self, count: usize) -> Result<()> {
        let until = Instant::now() + ARRIVAL;
        while self.all().len() < count && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = self.all().len();
        ensure!(seen == count, "{count} orders were placed, {seen} handlers started");
        Ok(())
    }

    /// The starts of the events after the warm-up.
    fn after(&self, warm_up: Duration) -> Result<Vec<Start>> {
        let all = self.all();
        let first = all.iter().map(|start| start.occurred).min().context("no handler started")?;
        let from = first + warm_up;
        Ok(all.into_iter().filter(|start| start.occurred >= from).collect())
    }
}
