//! Jobs that fail for good, and workers that are stopped in the middle of a job.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use contracts::{Envelope, OrderState, Queue};
use messaging::inbox::Job;
use messaging::leases::Consumer;
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Outcome, Worker, WorkerConfig};
use messaging::{Hint, Wakeup, outbox};
use runtime::Tasks;
use serde_json::json;
use sqlx::PgPool;
use standalone::Part;
use tests::events::{deliver, event};
use tests::waiting::SOON;
use tests::{Database, System, books, shop};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const QUEUE: Queue = Queue::Notifications;

/// Signals that it has started, and ends when the gate opens.
struct Gated {
    started: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

impl Handler for Gated {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        self.started.add_permits(1);
        self.gate.acquire().await.map_err(|error| Failure::Retry(error.to_string()))?.forget();
        Ok(Completed::new(json!({})))
    }
}

fn config(owner: &str, patience: Duration) -> WorkerConfig {
    let (dead_jobs, _) = mpsc::unbounded_channel();
    WorkerConfig {
        queue: QUEUE,
        slots: 4,
        policy: RetryPolicy::DOCUMENTS,
        owner: owner.to_owned(),
        patience,
        dead_jobs,
        relay: None,
    }
}

/// Status, attempts and last error of the only job.
async fn job(pool: &PgPool) -> Result<(String, i32, Option<String>)> {
    Ok(sqlx::query_as("select status, attempts, last_error from messaging.inbox").fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stopped_finishes_its_job_or_gives_it_back() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&pool, QUEUE, &[event()]).await?;
    let (started, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = || Gated { started: started.clone(), gate: gate.clone() };

    // Stopped while the job hangs: it goes back to the queue as in doubt, and the attempt does not count.
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("hanging", Worker::new(pool.clone(), config("hanging", Duration::ZERO), handler()).run(tasks.clone()));
    started.acquire().await?.forget();
    tasks.drain(SOON).await?;
    let (status, attempts, error) = job(&database.pool).await?;
    assert_eq!((status.as_str(), attempts), ("in_doubt", 0));
    assert_eq!(error.as_deref(), Some("the worker hanging was stopped"));

    // Stopped while the job makes progress: the worker waits for it.
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("patient", Worker::new(pool.clone(), config("patient", SOON), handler()).run(tasks.clone()));
    started.acquire().await?.forget();
    tasks.shutdown.cancel();
    gate.add_permits(1);
    tasks.drain(SOON).await?;
    let (status, attempts, error) = job(&database.pool).await?;
    assert_eq!((status.as_str(), attempts, error), ("done", 1, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecodable_row_dies_and_takes_no_other_with_it() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let (from_the_future, good) = (event(), event());
    deliver(&pool, QUEUE, &[from_the_future.clone(), good.clone()]).await?;
    sqlx::query("update messaging.outbox set schema_version = 2 where event_id = $1")
        .bind(from_the_future.event_id)
        .execute(&database.pool)
        .await?;

    let gate = Arc::new(Semaphore::new(1));
    let handler = Gated { started: Arc::new(Semaphore::new(0)), gate };
    let outcomes = Worker::new(pool.clone(), config("reader", SOON), handler).tick().await?;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Dead).count(), 1, "{outcomes:?}");

    let ended = async |event: &Envelope| -> Result<(String, Option<String>)> {
        let row = "select status, last_error from messaging.inbox where event_id = $1";
        Ok(sqlx::query_as(row).bind(event.event_id).fetch_one(&database.pool).await?)
    };
    assert_eq!(ended(&good).await?, ("done".to_owned(), None));
    let (status, reason) = ended(&from_the_future).await?;
    assert_eq!(status, "dead");
    assert_eq!(reason.as_deref(), Some("schema version 2 is unknown to this release, which reads 1"));
    Ok(())
}

/// A job often ends with an event, which should not wait for the relay's next poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_is_woken_when_a_job_has_ended() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let mut woken = Wakeup::start(&pool, outbox::CHANNEL, &tasks);
    timeout(SOON, woken.wait(Duration::MAX)).await?;
    deliver(&pool, QUEUE, &[event()]).await?;

    let handler = Gated { started: Arc::new(Semaphore::new(0)), gate: Arc::new(Semaphore::new(1)) };
    let relay = Some(Hint::start(&pool, outbox::CHANNEL, &tasks));
    let worker = Worker::new(pool.clone(), WorkerConfig { relay, ..config("telling", SOON) }, handler);
    assert_eq!(worker.tick().await?, [Outcome::Done]);
    timeout(SOON, woken.wait(Duration::MAX)).await?;
    tasks.drain(SOON).await
}

/// The projector has a loop of its own, and dead-letters by itself. It has no other rows in the inbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_projector_dead_letters_what_it_cannot_decode_and_goes_on() -> Result<()> {
    let system = System::commands_only().await?;
    shop::order_in(&system.api, OrderState::Paid).await?;
    let database = system.stop().await?;
    sqlx::query("update messaging.outbox set schema_version = 9 where aggregate_version = 1")
        .execute(&database.pool)
        .await?;
    let system = System::start_on(database, |options| options.parts = vec![Part::Query]).await?;
    let pool = &system.database.pool;
    books::passed(pool, Consumer::Projections, SOON).await?;
    let rows: Vec<(String, i32, String)> =
        sqlx::query_as("select queue, aggregate_version, status from messaging.inbox").fetch_all(pool).await?;
    assert_eq!(rows, [("projections".to_owned(), 1, "dead".to_owned())]);
    let shown: Vec<i32> = sqlx::query_scalar("select version from read.history").fetch_all(pool).await?;
    assert_eq!(shown, [2], "the event after it is applied");
    system.finish().await
}
