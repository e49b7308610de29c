//! Attempts that end in an unusual way. The job must not stay with a worker that does nothing about it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use contracts::Queue;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::retry::{RetryPolicy, Then};
use messaging::worker::{Completed, Effect, Failure, Handler, Isolation, Worker, WorkerConfig};
use runtime::Tasks;
use runtime::telemetry::MessagingSystem;
use serde_json::json;
use sqlx::PgConnection;
use tests::events::{deliver, event};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, books};
use tokio_util::sync::CancellationToken;

use crate::operations::execute;

const QUEUE: Queue = Queue::Notifications;

fn config(slots: usize) -> WorkerConfig {
    let policy = RetryPolicy { unit: std::time::Duration::from_millis(1), waits: &[1, 1, 1], then: Then::GiveUp };
    let (owner, isolation) = ("worker".to_owned(), Isolation::new());
    let system = MessagingSystem::Postgresql;
    WorkerConfig { queue: QUEUE, system, slots, policy, owner, isolation, patience: SOON, relay: None }
}

/// Fails at first, and then does its job.
struct Recovering(fn() -> Failure, AtomicUsize);

impl Handler for Recovering {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        if self.1.fetch_add(1, Ordering::Relaxed) == 0 { Err((self.0)()) } else { Ok(Completed::new(json!({}))) }
    }
}

async fn is_done_in_the_end(failure: fn() -> Failure) -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&database.pool, QUEUE, &[event()]).await?;
    let tasks = Tasks::new(CancellationToken::new());
    let worker = Worker::new(pool, config(4), Recovering(failure, AtomicUsize::new(0)));
    tasks.spawn("worker", worker.run(tasks.clone()));
    let done = "select count(*) from messaging.inbox where status = 'done' and attempts = 2";
    eventually_equal("another attempt does the job", SOON, 1, async || books::count(&database.pool, done).await)
        .await?;
    tasks.drain(SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_its_worker_gave_up_is_given_back() -> Result<()> {
    is_done_in_the_end(|| Failure::LeaseLost).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_handler_panics_is_tried_again() -> Result<()> {
    is_done_in_the_end(|| panic!("a bug in a handler")).await
}

/// Its connection to the database breaks in the first attempt. The second one must be soon, and know that there was a first.
struct CutOff(sqlx::PgPool);

impl Handler for CutOff {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        if !job.in_doubt {
            sqlx::query("select pg_terminate_backend(pg_backend_pid())").execute(&self.0).await?;
        }
        Ok(Completed::new(json!({})))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_costs_neither_an_attempt_nor_a_back_off() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&database.pool, QUEUE, &[event()]).await?;
    let tasks = Tasks::new(CancellationToken::new());
    let hours = RetryPolicy { unit: std::time::Duration::from_secs(3_600), ..config(1).policy };
    let config = WorkerConfig { policy: hours, ..config(1) };
    tasks.spawn("worker", Worker::new(pool, config, CutOff(database.pool.clone())).run(tasks.clone()));
    let job = "select concat_ws(' ', status, attempts, last_error) from messaging.inbox";
    let done = "done 1".to_owned();
    eventually_equal("another attempt does the job", SOON, done, async || {
        Ok(sqlx::query_scalar(job).fetch_one(&database.pool).await?)
    })
    .await?;
    tasks.drain(SOON).await
}

/// Writes a row that the database may refuse.
#[derive(Debug)]
struct Number(i32);

impl Effect for Number {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        async move {
            sqlx::query("insert into numbers values ($1)").bind(self.0).execute(conn).await?;
            Ok(())
        }
        .boxed()
    }
}

/// All its jobs end at the same time, so they are completed together.
struct Counting {
    next: Arc<AtomicUsize>,
    all_there: Arc<tokio::sync::Barrier>,
}

impl Handler for Counting {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let number = i32::try_from(self.next.fetch_add(1, Ordering::Relaxed)).unwrap_or(i32::MAX);
        if job.attempts == 1 {
            self.all_there.wait().await;
        }
        Ok(Completed::with(json!({ "number": number }), Number(number)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_that_the_database_refuses_spoils_no_other() -> Result<()> {
    const JOBS: usize = 20;
    let database = Database::new().await?;
    execute(
        &database.pool,
        "create table public.numbers (number int constraint lucky check (number <> 13));
         grant insert on public.numbers to articurated_workers",
    )
    .await?;
    let pool = database.pool_as("articurated_workers").await?;
    let events: Vec<_> = (0..JOBS).map(|_| event()).collect();
    deliver(&database.pool, QUEUE, &events).await?;
    let handler = Counting { next: Arc::default(), all_there: Arc::new(tokio::sync::Barrier::new(JOBS)) };
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("worker", Worker::new(pool, config(JOBS), handler).run(tasks.clone()));
    let done = "select count(*) from messaging.inbox where status = 'done'";
    eventually_equal("every job is done", SOON, 20, async || books::count(&database.pool, done).await).await?;
    let retried = "select count(*) from messaging.inbox where attempts > 1";
    assert_eq!(books::count(&database.pool, retried).await?, 1, "only the one that was refused");
    let numbers = "select count(*) from public.numbers where number < 20";
    assert_eq!(books::count(&database.pool, numbers).await?, 19, "each effect is written once");
    tasks.drain(SOON).await
}

/// An operator has taken a job from its worker, and the same worker has got it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_attempts_that_are_completed_together_one_has_its_effect() -> Result<()> {
    let database = Database::new().await?;
    let numbers = "create table public.numbers (number int); grant insert on public.numbers to articurated_workers";
    execute(&database.pool, numbers).await?;
    let attempted = Arc::new(AtomicUsize::new(0));
    let handler = Counting { next: Arc::clone(&attempted), all_there: Arc::new(tokio::sync::Barrier::new(1)) };
    let tasks = Tasks::new(CancellationToken::new());
    let pool = database.pool_as("articurated_workers").await?;
    tasks.spawn("worker", Worker::new(pool, config(4), handler).run(tasks.clone()));
    let attempts = async |count: usize| {
        let so_far = async || Ok(attempted.load(Ordering::Relaxed));
        eventually_equal("the handler has returned", SOON, count, so_far).await
    };

    // While the completion of one job waits for the table, both attempts at the other join the next group.
    let mut locked = database.pool.begin().await?;
    sqlx::query("lock table public.numbers in exclusive mode").execute(&mut *locked).await?;
    deliver(&database.pool, QUEUE, &[event()]).await?;
    attempts(1).await?;
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually_equal("the completion waits", SOON, 1, async || books::count(&database.pool, waiting).await).await?;
    let taken = event();
    deliver(&database.pool, QUEUE, std::slice::from_ref(&taken)).await?;
    attempts(2).await?;
    sqlx::query("update messaging.inbox set status = 'in_doubt', run_at = clock_timestamp() where event_id = $1")
        .bind(taken.event_id)
        .execute(&database.pool)
        .await?;
    attempts(3).await?;
    locked.commit().await?;
    let done = "select count(*) from messaging.inbox where status = 'done'";
    eventually_equal("both jobs are done", SOON, 2, async || books::count(&database.pool, done).await).await?;
    assert_eq!(books::count(&database.pool, "select count(*) from public.numbers").await?, 2, "one effect of each job");
    tasks.drain(SOON).await
}
