//! Jobs that fail for good, and workers that are stopped in the middle of a job.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use contracts::{Envelope, OrderState, Queue};
use messaging::inbox::Job;
use messaging::leases::Consumer;
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Isolation, Outcome, Worker, WorkerConfig};
use messaging::{Hint, Wakeup, outbox};
use runtime::telemetry::MessagingSystem;
use runtime::{Clock, Tasks};
use serde_json::json;
use sqlx::PgPool;
use standalone::Part;
use tests::events::{deliver, event};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, shop};
use tokio::sync::Semaphore;
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
    WorkerConfig {
        queue: QUEUE,
        system: MessagingSystem::Postgresql,
        slots: 4,
        policy: RetryPolicy::DOCUMENTS,
        owner: owner.to_owned(),
        isolation: Isolation::new(),
        patience,
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

/// Status, attempts and last error of an event's job.
async fn job_of(pool: &PgPool, event: &Envelope) -> Result<(String, i32, Option<String>)> {
    let row = "select status, attempts, last_error from messaging.inbox where event_id = $1";
    Ok(sqlx::query_as(row).bind(event.event_id).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_its_event_dies_and_takes_no_other_with_it() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let (lost, good) = (event(), event());
    deliver(&pool, QUEUE, &[lost.clone(), good.clone()]).await?;
    sqlx::query("delete from messaging.outbox where event_id = $1").bind(lost.event_id).execute(&database.pool).await?;

    let gate = Arc::new(Semaphore::new(1));
    let handler = Gated { started: Arc::new(Semaphore::new(0)), gate };
    let outcomes = Worker::new(pool.clone(), config("reader", SOON), handler).tick().await?;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Dead).count(), 1, "{outcomes:?}");
    assert_eq!(job_of(&database.pool, &good).await?, ("done".to_owned(), 1, None));
    let (status, _, reason) = job_of(&database.pool, &lost).await?;
    assert_eq!((status.as_str(), reason.as_deref()), ("dead", Some("the event is not in the outbox")));
    Ok(())
}

/// During an upgrade a new relay sends what an old worker does not know. A new worker may take it; only after an hour is it up
/// to an operator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_newer_release_knows_waits_for_it_and_costs_no_attempts() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let unknown = [
        (event(), "schema version 2 of events of the type order.created (it reads 1)"),
        (Envelope { event_type: "order.eaten".to_owned(), ..event() }, "events of the type order.eaten"),
        // This release knows the type, and would take the event for something else.
        (
            Envelope { event_type: "order.delivered".to_owned(), ..event() },
            "events of the type order.delivered in the queue notifications",
        ),
        (Envelope { aggregate_type: "voucher".to_owned(), ..event() }, "aggregates of the type voucher"),
    ];
    let events: Vec<_> = unknown.iter().map(|(event, _)| event.clone()).collect();
    deliver(&pool, QUEUE, &events).await?;
    sqlx::query("update messaging.outbox set schema_version = 2 where event_id = $1")
        .bind(events[0].event_id)
        .execute(&database.pool)
        .await?;
    let handler = || Gated { started: Arc::new(Semaphore::new(0)), gate: Arc::new(Semaphore::new(0)) };

    let outcomes = Worker::new(pool.clone(), config("old", SOON), handler()).tick().await?;
    assert_eq!(outcomes, [Outcome::NotYet; 4]);
    for (event, what) in &unknown {
        let (status, attempts, reason) = job_of(&database.pool, event).await?;
        assert_eq!((status.as_str(), attempts), ("ready", 0), "{what}");
        let reason = reason.unwrap_or_default();
        assert_eq!(reason, format!("this release does not know {what}: upgrade the workers, then retry"));
    }
    let waits = "select count(*) from messaging.inbox where run_at > received_at + interval '4 seconds'";
    assert_eq!(books::count(&database.pool, waits).await?, 4);

    let aged =
        "update messaging.inbox set received_at = received_at - interval '61 minutes', run_at = clock_timestamp()";
    sqlx::query(aged).execute(&database.pool).await?;
    let outcomes = Worker::new(pool.clone(), config("still old", SOON), handler()).tick().await?;
    assert_eq!(outcomes, [Outcome::Dead; 4]);
    for (event, what) in &unknown {
        let (status, _, reason) = job_of(&database.pool, event).await?;
        assert!(status == "dead" && reason.is_some_and(|reason| reason.contains("upgrade the workers")), "{what}");
    }
    Ok(())
}

/// Another does it, and has had it for no time.
struct TakenOver;

impl Handler for TakenOver {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        Err(Failure::UnderWay { why: "the gateway has it".to_owned(), since: Clock::system().now() })
    }
}

/// The dependency has answered, so its outage is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_just_gone_under_way_elsewhere_is_looked_up_soon_however_old_the_job_is() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&pool, QUEUE, &[event()]).await?;
    sqlx::raw_sql(
        "update messaging.inbox set received_at = received_at - interval '1 day';
         insert into messaging.outages (queue, failures, reason, since, next_probe_at)
         values ('notifications', 3, 'down', clock_timestamp() - interval '1 hour', clock_timestamp())",
    )
    .execute(&database.pool)
    .await?;
    let outcomes = Worker::new(pool.clone(), config("worker", SOON), TakenOver).tick().await?;
    assert_eq!(outcomes, [Outcome::UnderWay]);
    let (status, attempts, reason) = job(&database.pool).await?;
    assert_eq!((status.as_str(), attempts, reason.as_deref()), ("ready", 0, Some("the gateway has it")));
    let soon = "select count(*) from messaging.inbox where run_at < clock_timestamp() + interval '30 seconds'";
    assert_eq!(books::count(&database.pool, soon).await?, 1);
    assert_eq!(books::count(&database.pool, "select count(*) from messaging.outages").await?, 0);
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
async fn the_projector_puts_off_what_it_does_not_know_and_goes_on() -> Result<()> {
    let system = System::commands_only().await?;
    shop::order_in(&system.api, OrderState::Paid).await?;
    let database = system.stop().await?;
    sqlx::query("update messaging.outbox set schema_version = 9 where aggregate_version = 1")
        .execute(&database.pool)
        .await?;
    let system = System::start_on(database, |options| options.parts = vec![Part::Query]).await?;
    let pool = &system.database.pool;
    books::passed(pool, Consumer::Projections, SOON).await?;
    let row = async || -> Result<(String, i32, String)> {
        let row = "select queue, aggregate_version, status from messaging.inbox";
        Ok(sqlx::query_as(row).fetch_one(pool).await?)
    };
    assert_eq!(row().await?, ("projections".to_owned(), 1, "ready".to_owned()));
    let shown = async || -> Result<Vec<i32>> {
        Ok(sqlx::query_scalar("select version from read.history order by 1").fetch_all(pool).await?)
    };
    assert_eq!(shown().await?, [2], "the event after it is applied");

    // As if it had waited for more than an hour.
    let retry =
        "update messaging.inbox set run_at = clock_timestamp(), received_at = received_at - interval '61 minutes'";
    sqlx::query(retry).execute(pool).await?;
    eventually_equal("it is dead", SOON, "dead".to_owned(), async || Ok(row().await?.2)).await?;
    let reason: String = sqlx::query_scalar("select last_error from messaging.inbox").fetch_one(pool).await?;
    assert!(reason.contains("schema version 9") && reason.ends_with("upgrade query, then retry"), "{reason}");
    sqlx::query("update messaging.outbox set schema_version = 1").execute(pool).await?;
    let again = "with letter as (delete from messaging.dead_letters)
                 update messaging.inbox set status = 'in_doubt', finished_at = null, run_at = clock_timestamp()";
    sqlx::query(again).execute(pool).await?;
    eventually_equal("it is applied", SOON, vec![1, 2], shown).await?;
    system.finish().await
}
