//! A batch that takes longer than a statement may is halved. At the same size it would take too long again, for ever.

use std::sync::Arc;
use std::time::Duration;

use access::Access;
use anyhow::Result;
use chrono::{DateTime, Utc};
use contracts::Queue;
use messaging::TransportConfig;
use messaging::inbox::Job;
use messaging::leases::Consumer;
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Isolation, Worker, WorkerConfig};
use runtime::config::DatabaseConfig;
use runtime::telemetry::MessagingSystem;
use runtime::{Clock, Ids, Tasks, database};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use tests::events::{deliver, event, record};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, eventually, shop};
use tokio_util::sync::CancellationToken;

const QUEUE: Queue = Queue::Notifications;
const BATCH: i64 = 8;

/// A process on this database, whose statements may take a second.
fn impatient(database: &Database) -> DatabaseConfig {
    DatabaseConfig { statement_timeout: Duration::from_secs(1), ..database.config() }
}

/// Blocks every write to a table until the transaction ends.
async fn block(pool: &PgPool, table: &str) -> Result<Transaction<'static, Postgres>> {
    let mut blocking = pool.begin().await?;
    sqlx::query(AssertSqlSafe(format!("lock table {table} in share mode"))).execute(&mut *blocking).await?;
    Ok(blocking)
}

/// Returns when a process has waited for a lock, was cancelled, and waits again.
async fn second_attempt(pool: &PgPool, application: &str) -> Result<()> {
    let waiting = async || -> Result<Option<DateTime<Utc>>> {
        let since = "select max(query_start) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock' and application_name = $1";
        Ok(sqlx::query_scalar(since).bind(application).fetch_one(pool).await?)
    };
    let first = eventually("a batch waits", SOON, waiting).await?;
    eventually("it is tried again", SOON, async || Ok(waiting().await?.filter(|next| *next > first))).await?;
    Ok(())
}

/// Asserts that the first batch after the time-out was smaller, and that the batches have grown again.
fn assert_halved_and_grown(sizes: &[i64]) {
    assert!(sizes.first().is_some_and(|first| *first <= BATCH / 2), "{sizes:?}");
    assert_eq!(sizes.iter().max(), Some(&BATCH), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_halves_a_batch_that_takes_too_long() -> Result<()> {
    let database = Database::new().await?;
    let pool = &database.pool;
    for _ in 0..80 {
        record(&mut *pool.acquire().await?, Ids::system().next(), 1).await?;
    }
    let blocking = block(pool, "messaging.inbox").await?;
    let (config, tasks) = (impatient(&database), Tasks::new(CancellationToken::new()));
    let ours = database::connect(&config, Some("articurated_relay"), "impatient").await?;
    let settings = outbox_relay::Settings { batch: BATCH, shard_groups: 1, ..outbox_relay::Settings::default() };
    let transport = TransportConfig::default();
    outbox_relay::start(&ours, &config, &transport, &settings, "relay", &Clock::system(), &tasks);
    second_attempt(pool, "impatient").await?;
    blocking.rollback().await?;

    eventually_equal("every event is out", SOON, 0, async || books::pending(pool).await).await?;
    let sizes = "select cardinality(positions)::int8 from messaging.relay_batches order by last_position";
    assert_halved_and_grown(&sqlx::query_scalar::<_, i64>(sizes).fetch_all(pool).await?);
    tasks.drain(SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_projector_halves_a_batch_that_takes_too_long() -> Result<()> {
    let system = System::commands_only().await?;
    shop::sell(&system.api, 20).await?;
    let database = system.stop().await?;
    let pool = &database.pool;
    let blocking = block(pool, "read.history").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let settings = query::Settings { projection_batch: BATCH, ..query::Settings::default() };
    let pools = query::Pools::connect(&impatient(&database), None, &settings).await?;
    let folder = tempfile::tempdir()?;
    let invoices = storage::open(&folder.path().display().to_string()).await?;
    let (name, access) = ("query".to_owned(), Access::unchecked());
    let _routes = query::start(pools, invoices, &settings, Clock::system(), name, &access, &tasks);
    second_attempt(pool, "query projector").await?;
    blocking.rollback().await?;

    books::passed(pool, Consumer::Projections, SOON).await?;
    // One row per event; those of a batch are written in one transaction.
    let sizes = "select count(*) from read.history group by xmin order by xmin::text::bigint";
    assert_halved_and_grown(&sqlx::query_scalar::<_, i64>(sizes).fetch_all(pool).await?);
    tasks.drain(SOON).await
}

struct Nothing;

impl Handler for Nothing {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        Ok(Completed::new(json!({})))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_halves_a_claim_that_takes_too_long() -> Result<()> {
    let database = Database::new().await?;
    let pool = &database.pool;
    let events: Vec<_> = (0..80).map(|_| event()).collect();
    deliver(&database.pool_as("articurated_workers").await?, QUEUE, &events).await?;
    let blocking = block(pool, "messaging.claims").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let ours = database::connect(&impatient(&database), Some("articurated_workers"), "impatient").await?;
    let config = WorkerConfig {
        queue: QUEUE,
        system: MessagingSystem::Postgresql,
        slots: usize::try_from(BATCH)?,
        policy: RetryPolicy::DOCUMENTS,
        owner: "worker".to_owned(),
        patience: SOON,
        relay: None,
        isolation: Isolation::new(),
    };
    let worker: Arc<Worker<Nothing>> = Worker::new(ours, config, Nothing);
    tasks.spawn("worker", worker.run(tasks.clone()));
    second_attempt(pool, "impatient").await?;
    blocking.rollback().await?;

    let done = "select count(*) from messaging.inbox where status = 'done'";
    eventually_equal("every job is done", SOON, 80, async || books::count(pool, done).await).await?;
    let sizes = "select cardinality(event_ids)::int8 from messaging.claims order by claim_id";
    let sizes = sqlx::query_scalar::<_, i64>(sizes).fetch_all(pool).await?;
    assert!(sizes.first().is_some_and(|first| *first <= BATCH / 2), "{sizes:?}");
    tasks.drain(SOON).await
}
