//! Where the claims of a queue start: never above a job that could start.

use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::{DateTime, Utc};
use contracts::Queue;
use messaging::inbox::{self, Job};
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Isolation, Outcome, Worker, WorkerConfig};
use runtime::Tasks;
use runtime::telemetry::MessagingSystem;
use serde_json::json;
use sqlx::PgPool;
use tests::Database;
use tests::books::count;
use tests::events::{deliver, event};
use tests::waiting::{SOON, eventually_equal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::operations::execute;

const QUEUE: Queue = Queue::Notifications;
/// A worker asks for the writers of the inbox once a second while it claims jobs.
const THREE_QUESTIONS: Duration = Duration::from_secs(3);

/// Does nothing.
struct Idle;

impl Handler for Idle {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        Ok(Completed::new(json!({})))
    }
}

fn config(slots: usize) -> WorkerConfig {
    let owner = "worker".to_owned();
    WorkerConfig {
        queue: QUEUE,
        system: MessagingSystem::Postgresql,
        slots,
        policy: RetryPolicy::DOCUMENTS,
        owner,
        patience: SOON,
        relay: None,
        isolation: Isolation::new(),
    }
}

/// When each job is due. A sweep, which finds what the claims have passed, changes it.
async fn due_times(pool: &PgPool) -> Result<Vec<(Uuid, DateTime<Utc>)>> {
    Ok(sqlx::query_as("select event_id, run_at from messaging.inbox order by event_id").fetch_all(pool).await?)
}

async fn all_done(pool: &PgPool) -> Result<()> {
    let open = "select count(*) from messaging.inbox where status <> 'done'";
    eventually_equal("every job is done", SOON, 0, async || count(pool, open).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_claim_leaves_the_next_ones_take() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let events: Vec<_> = (0..20).map(|_| event()).collect();
    deliver(&database.pool, QUEUE, &events).await?;
    let due = due_times(&database.pool).await?;
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("worker", Worker::new(pool, config(2), Idle).run(tasks.clone()));
    all_done(&database.pool).await?;
    assert_eq!(due_times(&database.pool).await?, due, "no sweep had to find any of them");
    tasks.drain(SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_commits_late_is_claimed_at_once() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let late = event();
    deliver(&database.pool, QUEUE, std::slice::from_ref(&late)).await?;
    execute(&database.pool, "delete from messaging.inbox").await?;
    let mut open = database.pool.begin().await?;
    inbox::insert(&mut *open, QUEUE, std::slice::from_ref(&late)).await?;

    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("worker", Worker::new(pool, config(2), Idle).run(tasks.clone()));
    let started = Instant::now();
    while started.elapsed() < THREE_QUESTIONS {
        deliver(&database.pool, QUEUE, &[event()]).await?;
        all_done(&database.pool).await?;
    }
    open.commit().await?;
    let due = due_times(&database.pool).await?;
    all_done(&database.pool).await?;
    assert_eq!(due_times(&database.pool).await?, due, "no sweep had to find it");
    tasks.drain(SOON).await
}

/// The clock of the database may be set back, or another server takes over whose clock is behind.
#[tokio::test]
async fn a_job_is_never_due_below_the_bound() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let ahead = "insert into messaging.queue_bounds (queue, bound) values ('notifications', now() + interval '1 hour')";
    execute(&database.pool, ahead).await?;
    inbox::insert(&pool, QUEUE, &[event()]).await?;
    let below = "select count(*) from messaging.inbox join messaging.queue_bounds using (queue) where run_at < bound";
    assert_eq!(count(&database.pool, below).await?, 0, "no claim would look there");
    Ok(())
}

#[tokio::test]
async fn a_paused_queue_starts_no_job() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&database.pool, QUEUE, &[event()]).await?;
    let pause = "update messaging.queues set paused_at = now(), paused_by = 'anita', paused_reason = 'tea' where name = 'notifications'";
    execute(&database.pool, pause).await?;
    let worker = Worker::new(pool, config(2), Idle);
    assert!(worker.tick().await?.is_empty());
    execute(&database.pool, "update messaging.queues set paused_at = null, paused_by = null, paused_reason = null")
        .await?;
    assert_eq!(worker.tick().await?, [Outcome::Done]);
    Ok(())
}
