//! A worker of the ordered queue, in a process of its own: it fails, panics and gives up at random, and is killed.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::retry::{RetryPolicy, Then};
use messaging::worker::{Completed, Effect, Failure, Handler, Isolation, PATIENCE, Worker, WorkerConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use runtime::config::DatabaseConfig;
use runtime::telemetry::MessagingSystem;
use runtime::{Clock, Tasks, database};
use serde_json::json;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::QUEUE;

/// Jobs at a time.
const SLOTS: usize = 48;
const POLICY: RetryPolicy = RetryPolicy { unit: Duration::from_millis(20), waits: &[1, 2, 4], then: Then::GiveUp };

/// How an attempt ends.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Done,
    Fails,
    InDoubt,
    /// Nothing else runs until a probe succeeds.
    Unavailable,
    Dies,
    Panics,
}

/// Works until the process ends.
pub async fn work(database: &DatabaseConfig, name: &str, seed: u64) -> Result<()> {
    let pool = database::connect(database, Some("articurated_workers"), name).await?;
    let owner = name.to_owned();
    let config = WorkerConfig {
        queue: QUEUE,
        system: MessagingSystem::Postgresql,
        slots: SLOTS,
        policy: POLICY,
        owner,
        isolation: Isolation::new(),
        patience: PATIENCE,
        relay: None,
    };
    let handler = Recording { worker: name.to_owned(), chance: Mutex::new(StdRng::seed_from_u64(seed)) };
    Worker::new(pool, config, handler).run(Tasks::new(CancellationToken::new())).await;
    Ok(())
}

/// Writes down what it has done.
struct Recording {
    worker: String,
    chance: Mutex<StdRng>,
}

impl Recording {
    fn draw(&self) -> Fate {
        match self.chance.lock().expect("no holder panics").random_range(0..1_000) {
            0..40 => Fate::Fails,
            40..50 => Fate::InDoubt,
            50..54 => Fate::Dies,
            54..56 => Fate::Panics,
            56..57 => Fate::Unavailable,
            _ => Fate::Done,
        }
    }
}

impl Handler for Recording {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let started_at = Clock::system().now();
        // Other jobs run meanwhile.
        tokio::task::yield_now().await;
        match self.draw() {
            Fate::Done => {}
            Fate::Fails => return Err(Failure::Retry("a bad day".to_owned())),
            Fate::InDoubt => return Err(Failure::InDoubt("no answer".to_owned())),
            Fate::Unavailable => return Err(Failure::Unavailable("the printer is out".to_owned())),
            Fate::Dies => return Err(Failure::Dead("a very bad day".to_owned())),
            Fate::Panics => panic!("a bug in a handler"),
        }
        let (aggregate_id, version, attempt) = (job.aggregate_id, job.aggregate_version, job.attempts);
        let effect = Recorded { aggregate_id, version, attempt, worker: self.worker.clone(), started_at };
        Ok(Completed::with(json!({}), effect))
    }
}

/// The effect of a job.
#[derive(Debug)]
struct Recorded {
    aggregate_id: Uuid,
    version: i32,
    attempt: i32,
    worker: String,
    started_at: DateTime<Utc>,
}

impl Effect for Recorded {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        async move {
            sqlx::query(
                "insert into public.effects (aggregate_id, version, attempt, worker, started_at, ended_at)
                 values ($1, $2, $3, $4, $5, clock_timestamp())",
            )
            .bind(self.aggregate_id)
            .bind(self.version)
            .bind(self.attempt)
            .bind(&self.worker)
            .bind(self.started_at)
            .execute(conn)
            .await?;
            Ok(())
        }
        .boxed()
    }
}
