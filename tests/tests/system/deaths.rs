//! Worker processes that die: the job that kills them is found, and costs the jobs beside it nothing.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use chrono::DateTime;
use contracts::Queue;
use embedded::child::{Child, Signal, bound_to_parent};
use messaging::inbox::{self, Claim, Job, WorkerLease};
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Isolation, PATIENCE, Worker, WorkerConfig};
use runtime::telemetry::MessagingSystem;
use runtime::{Ids, Tasks};
use serde_json::json;
use sqlx::PgPool;
use tests::books::count;
use tests::events::{deliver, event};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, eventually, programs, shop};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const QUEUE: Queue = Queue::Notifications;

/// The real program. It kills itself whenever it starts this job.
async fn workers(system: &System, killer: Uuid) -> Result<Child> {
    let folder = tokio::task::spawn_blocking(programs::folder).await?;
    let mut command = bound_to_parent(Signal::SIGKILL, folder.join("workers"));
    command.env_remove("RABBITMQ_URL").env_remove("SMTP_URL").env("DATABASE_URL", &system.database.url);
    command.env("WORKERS_PORT", embedded::free_port()?.to_string()).env("INVOICE_STORE_URL", system.invoices());
    command.env("CHROMIUM_PATH", "/there/is/no/browser");
    command.env("FAULT_POINT", format!("worker.job.started@{killer}:1"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Child::spawn("workers", command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_process_dies_alone() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let pool = &system.database.pool;
    for _ in 0..4 {
        shop::place(&system.api, &shop::order()).await?;
    }
    books::delivered(pool, SOON).await?;
    let killer: Uuid = sqlx::query_scalar("select event_id from messaging.inbox order by run_at offset 1 limit 1")
        .fetch_one(pool)
        .await?;

    let mut deaths = 0;
    let survivor = loop {
        let process = workers(&system, killer).await?;
        let done = "select count(*) from messaging.inbox where queue = 'notifications' and status in ('done', 'dead')";
        let died = eventually("the process dies, or all jobs have ended", SOON, async || {
            Ok(if process.exited().is_some() { Some(true) } else { (count(pool, done).await? == 4).then_some(false) })
        })
        .await?;
        if !died {
            break process;
        }
        deaths += 1;
        sqlx::query("update messaging.workers set expires_at = clock_timestamp()").execute(pool).await?;
    };
    assert_eq!(deaths, 4);
    let others =
        "select count(*) from messaging.inbox where queue = 'notifications' and status = 'done' and attempts = 1";
    assert_eq!(count(pool, others).await?, 3, "its neighbours are done, and were charged nothing");
    let (status, error): (String, String) =
        sqlx::query_as("select status, last_error from messaging.inbox where event_id = $1")
            .bind(killer)
            .fetch_one(pool)
            .await?;
    assert!(status == "dead" && error.contains("4 worker processes died while they ran this job"), "{status}: {error}");
    tokio::task::spawn_blocking(move || survivor.stop(Signal::SIGTERM, SOON)).await?;
    system.finish().await
}

/// Claims jobs as a worker does.
async fn claim(pool: &PgPool, owner: &str) -> Result<Vec<Job>> {
    let id = Ids::system().next();
    let lease = WorkerLease { owner, oldest_claim: id, lasts: SOON };
    let timeline: String = sqlx::query_scalar("select messaging.timeline()").fetch_one(pool).await?;
    inbox::extend_lease(pool, QUEUE, lease, &timeline).await?;
    let claim = Claim { id, owner, timeline: &timeline, bound: DateTime::UNIX_EPOCH, limit: 10, find_left: false };
    Ok(inbox::claim(pool, QUEUE, claim).await?.jobs)
}

async fn dies(database: &Database, pool: &PgPool) -> Result<u64> {
    sqlx::query("update messaging.workers set expires_at = clock_timestamp()").execute(&database.pool).await?;
    Ok(inbox::reclaim_expired(pool, QUEUE).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_job_that_was_started_alone_is_charged_with_a_second_death() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&pool, QUEUE, &[event(), event()]).await?;
    let seen = |jobs: &[Job]| jobs.iter().map(|job| (job.attempts, job.deaths)).collect::<BTreeSet<_>>();

    assert_eq!(seen(&claim(&pool, "first").await?), BTreeSet::from([(1, 0)]));
    assert_eq!(dies(&database, &pool).await?, 2);
    let suspects = claim(&pool, "second").await?;
    assert_eq!(seen(&suspects), BTreeSet::from([(1, 1)]), "both may have done it, and no attempt is charged");
    assert!(inbox::start_alone(&pool, &suspects[0]).await?);
    assert_eq!(dies(&database, &pool).await?, 2);
    let suspects = claim(&pool, "third").await?;
    assert_eq!(seen(&suspects), BTreeSet::from([(1, 1), (1, 2)]), "the other one was not started");

    // A worker that is asked to stop gives them back, and that is no death.
    let claims: Vec<Uuid> = suspects.iter().map(|job| job.claim_id).collect();
    assert_eq!(inbox::release(&pool, QUEUE, "third", &claims).await?, 2);
    let suspects = claim(&pool, "fourth").await?;
    assert_eq!(seen(&suspects), BTreeSet::from([(1, 1), (1, 2)]));

    // An attempt that ends, although it fails, clears the job.
    let mut conn = pool.acquire().await?;
    for job in &suspects {
        assert!(inbox::fail(&mut conn, job, "no", inbox::Next::Retry(Duration::ZERO)).await?);
    }
    drop(conn);
    assert_eq!(seen(&claim(&pool, "fifth").await?), BTreeSet::from([(2, 0)]));
    Ok(())
}

/// Notes how many jobs run while a suspect does.
#[derive(Clone, Default)]
struct Crowd {
    running: Arc<AtomicUsize>,
    beside_suspects: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Handler for Crowd {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let before = self.running.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(before + 1, Ordering::SeqCst);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
            if job.is_suspect() {
                let others = self.running.load(Ordering::SeqCst) - 1;
                self.beside_suspects.fetch_max(others, Ordering::SeqCst);
            }
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Completed::new(json!({})))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_runs_beside_no_job_of_any_queue() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let shipped = || contracts::Envelope { event_type: "order.shipped".to_owned(), ..event() };
    for _ in 0..30 {
        deliver(&pool, Queue::Notifications, &[event()]).await?;
        deliver(&pool, Queue::Invoices, &[shipped()]).await?;
    }
    let suspect = "update messaging.inbox set deaths = 1 where event_id in (select event_id from messaging.inbox order by run_at offset 20 limit 10)";
    sqlx::query(suspect).execute(&database.pool).await?;

    let (crowd, isolation) = (Crowd::default(), Isolation::new());
    let tasks = Tasks::new(CancellationToken::new());
    for queue in [Queue::Notifications, Queue::Invoices] {
        let config = WorkerConfig {
            queue,
            system: MessagingSystem::Postgresql,
            slots: 4,
            policy: RetryPolicy::DOCUMENTS,
            owner: "worker".to_owned(),
            isolation: isolation.clone(),
            patience: PATIENCE,
            relay: None,
        };
        tasks.spawn("worker", Worker::new(pool.clone(), config, crowd.clone()).run(tasks.clone()));
    }
    let done = "select count(*) from messaging.inbox where status = 'done' and attempts = 1";
    eventually_equal("all jobs are done", SOON, 60, async || count(&database.pool, done).await).await?;
    assert_eq!(crowd.beside_suspects.load(Ordering::SeqCst), 0);
    assert!(crowd.most.load(Ordering::SeqCst) > 1, "the others ran side by side");
    tasks.drain(SOON).await
}
