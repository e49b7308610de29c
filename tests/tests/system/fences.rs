//! A worker or relay that was replaced without noticing can do nothing. An event that arrives twice is handled once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono::DateTime;
use contracts::{OrderState, Queue};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::{self, Claim, Job, WorkerLease};
use messaging::leases::{self, Consumer};
use messaging::log::Place;
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Effect, Failure, Handler, Isolation, Outcome, PATIENCE, Worker, WorkerConfig};
use operations::write::replay::{self, Selection};
use operations::write::{Operator, Source, skip};
use runtime::telemetry::MessagingSystem;
use runtime::{Ids, Tasks};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use standalone::Part;
use tests::events::{append, deliver, event, record};
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, eventually, shop};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::operations::execute;

const QUEUE: Queue = Queue::Notifications;

/// Extends the lease of a worker, as its heartbeat does. Returns the server.
async fn extend_lease(pool: &PgPool, owner: &str, oldest_claim: Uuid, lasts: Duration) -> Result<String> {
    let timeline: String = sqlx::query_scalar("select messaging.timeline()").fetch_one(pool).await?;
    inbox::extend_lease(pool, QUEUE, WorkerLease { owner, oldest_claim, lasts }, &timeline).await?;
    Ok(timeline)
}

/// Claims jobs as a worker does whose lease ends in a while.
async fn claim(pool: &PgPool, owner: &str) -> Result<Vec<Job>> {
    let id = Ids::system().next();
    let timeline = &extend_lease(pool, owner, id, SOON).await?;
    let claim = Claim { id, owner, timeline, bound: DateTime::UNIX_EPOCH, limit: 10, find_left: false };
    Ok(inbox::claim(pool, QUEUE, claim).await?.jobs)
}

/// Whether a job becomes done, as its worker records it.
async fn complete(pool: &PgPool, job: &Job) -> Result<bool> {
    let key = (job.event_id, job.claim_id);
    let done = inbox::complete(&mut *pool.acquire().await?, QUEUE, &[key], &[&json!({})]).await?;
    Ok(done.keys().eq([&key]))
}

#[tokio::test]
async fn a_worker_that_slept_past_its_lease_completes_nothing() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    inbox::insert(&pool, QUEUE, &[event()]).await?;
    let claimed = claim(&pool, "sleeper").await?;
    extend_lease(&pool, "sleeper", claimed[0].claim_id, Duration::ZERO).await?;
    assert_eq!(inbox::reclaim_expired(&pool, QUEUE).await?, 1, "its lease has expired");
    let taken_over = claim(&pool, "successor").await?;
    assert!(taken_over[0].in_doubt, "the sleeper may have had its effect");

    // When it wakes it renews the lease of its process, and that does not give it its job back.
    extend_lease(&pool, "sleeper", claimed[0].claim_id, SOON).await?;
    assert!(!complete(&pool, &claimed[0]).await?);
    let mut effect = pool.begin().await?;
    assert!(!inbox::hold(&mut effect, &claimed[0]).await?, "nor can it hold the job for an effect of its own");
    assert!(inbox::hold(&mut effect, &taken_over[0]).await?, "its successor can");
    effect.rollback().await?;
    assert!(complete(&pool, &taken_over[0]).await?);
    Ok(())
}

/// A relay that died may have given it to RabbitMQ.
#[tokio::test]
async fn the_message_of_a_skipped_event_finds_its_job_discarded() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let event = event();
    append(&mut *database.pool.acquire().await?, &event).await?;
    let operator = Operator::new("anita", Source::Cli, "it is wrong", None)?;
    let event_id = event.event_id;
    skip::skip(&database.pool_as(operations::ROLE).await?, event_id, operator).await?;
    inbox::insert(&pool, QUEUE, &[event]).await?;
    assert!(claim(&pool, "worker").await?.is_empty());
    let jobs: Vec<(String, String)> =
        sqlx::query_as("select queue, status from messaging.inbox").fetch_all(&database.pool).await?;
    assert_eq!(jobs, [(QUEUE.to_string(), "discarded".to_owned())]);
    assert_eq!(books::count(&database.pool, "select count(*) from messaging.ordered_aggregates").await?, 0);

    // Replayed after all, it is done.
    let operator = Operator::new("anita", Source::Cli, "it is right", None)?;
    let selection = Selection { ids: vec![event_id], ..Selection::default() };
    replay::replay(&database.pool_as(operations::ROLE).await?, &selection, None, &operator).await?;
    let claimed = claim(&pool, "worker").await?;
    assert_eq!(claimed.iter().map(|job| job.event_id).collect::<Vec<_>>(), [event_id]);
    Ok(())
}

/// A mail server that puts everything off leaves as many jobs for later as there are mails.
#[tokio::test]
async fn a_claim_does_not_walk_over_jobs_whose_time_has_not_come() -> Result<()> {
    let database = Database::new().await?;
    sqlx::query(
        "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
         select 'notifications', messaging.new_id(), gen_random_uuid(), 1, clock_timestamp() + interval '1 hour'
         from generate_series(1, 1000)",
    )
    .execute(&database.pool)
    .await?;
    let pool = database.pool_as("articurated_workers").await?;
    let id = Ids::system().next();
    let timeline = &extend_lease(&pool, "worker", id, SOON).await?;
    let claim = Claim { id, owner: "worker", timeline, bound: DateTime::UNIX_EPOCH, limit: 10, find_left: true };
    let mut tx = pool.begin().await?;
    assert!(inbox::claim(&mut *tx, QUEUE, claim).await?.jobs.is_empty());
    let read: i64 = sqlx::query_scalar(
        "select coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
         from pg_stat_xact_user_tables where relname like 'inbox%'",
    )
    .fetch_one(&mut *tx)
    .await?;
    assert!(read < 100, "it read {read} rows");
    tx.rollback().await?;
    Ok(())
}

/// Waits at a gate, and then writes down who has done the job.
struct Signing {
    name: &'static str,
    started: Arc<Semaphore>,
    gate: Arc<Semaphore>,
}

#[derive(Debug)]
struct Signature(&'static str);

impl Effect for Signature {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        async move {
            sqlx::query("insert into signatures values ($1)").bind(self.0).execute(conn).await?;
            Ok(())
        }
        .boxed()
    }
}

impl Handler for Signing {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        self.started.add_permits(1);
        self.gate.acquire().await.map_err(|error| Failure::Retry(error.to_string()))?.forget();
        Ok(Completed::with(json!({}), Signature(self.name)))
    }
}

impl Signing {
    fn new(name: &'static str) -> Self {
        Self { name, started: Arc::new(Semaphore::new(0)), gate: Arc::new(Semaphore::new(0)) }
    }

    fn config(&self) -> WorkerConfig {
        WorkerConfig {
            queue: QUEUE,
            system: MessagingSystem::Postgresql,
            slots: 1,
            policy: RetryPolicy::DOCUMENTS,
            owner: self.name.to_owned(),
            isolation: Isolation::new(),
            patience: PATIENCE,
            relay: None,
        }
    }

    /// Takes the one job there is.
    async fn take(self, pool: &PgPool) -> Result<tokio::task::JoinHandle<sqlx::Result<Vec<Outcome>>>> {
        let started = self.started.clone();
        let worker = Worker::new(pool.clone(), self.config(), self);
        let working = tokio::spawn(async move { worker.tick().await });
        started.acquire().await?.forget();
        Ok(working)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_effect_of_a_job_that_was_lost_is_not_written() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    sqlx::raw_sql("create table signatures (name text); grant insert on signatures to articurated_workers")
        .execute(&database.pool)
        .await?;
    deliver(&pool, QUEUE, &[event()]).await?;
    let (sleeper, successor) = (Signing::new("sleeper"), Signing::new("successor"));
    let (wake, end) = (sleeper.gate.clone(), successor.gate.clone());
    let sleeping = sleeper.take(&pool).await?;
    sqlx::query("update messaging.workers set expires_at = clock_timestamp()").execute(&database.pool).await?;
    assert_eq!(inbox::reclaim_expired(&pool, QUEUE).await?, 1, "its lease has expired");
    let working = successor.take(&pool).await?;

    wake.add_permits(1);
    assert_eq!(sleeping.await??, [Outcome::LeaseLost]);
    end.add_permits(1);
    assert_eq!(working.await??, [Outcome::Done]);
    let signatures: Vec<String> = sqlx::query_scalar("select name from signatures").fetch_all(&database.pool).await?;
    assert_eq!(signatures, ["successor"]);
    Ok(())
}

/// After a failover to a replica that lacks the last commits, positions are given out again. What a reader knows of the old
/// server would make its successors pass new events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_from_another_timeline_is_not_stored() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_relay").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let mut leases = leases::start(pool.clone(), Consumer::Relay, "relay".to_owned(), &tasks);
    let held = leases.wait_for(|leases| leases.shards.len() == 16).await?.clone();
    let mut place = Place::load(&pool, Consumer::Relay, held).await?;
    let stored = async || books::count(&database.pool, "select coalesce(max(mark), 0) from messaging.marks").await;

    for position in [1, 2] {
        record(&mut *database.pool.acquire().await?, Ids::system().next(), 1).await?;
        let look_at = place.look_at(&pool).await?;
        place.saw(&look_at, &[position], false);
        eventually_equal("the writers are asked for, and there are none", SOON, position, async || {
            let look_at = place.look_at(&pool).await?;
            let covered = place.saw(&look_at, &[], false);
            place.handled(covered);
            Ok(place.mark().position)
        })
        .await?;
        if position == 2 {
            let promoted = "create or replace function messaging.timeline() returns text language sql stable return '000000FF'::text";
            execute(&database.pool, promoted).await?;
        }
        place.store_now(&pool).await?;
        assert_eq!(stored().await?, 1, "after position {position}");
    }
    drop(leases);
    tasks.drain(SOON).await
}

/// A renewal gives shards back, and the loop that forwards them does not know yet: it forwards nothing of them any more, so it must
/// not store that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_a_shard_that_was_given_back_is_not_stored() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_relay").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let mut leases = leases::start(pool.clone(), Consumer::Relay, "relay".to_owned(), &tasks);
    let held = leases.wait_for(|leases| leases.shards.len() == 16).await?.clone();
    let mut place = Place::load(&pool, Consumer::Relay, held.clone()).await?;

    let another = "insert into messaging.readers values ('relay', 'another', clock_timestamp() + interval '1 hour')";
    execute(&database.pool, another).await?;
    let kept = leases.wait_for(|leases| leases.shards.len() == 8).await?.shards.clone();
    record(&mut *database.pool.acquire().await?, Ids::system().next(), 1).await?;
    eventually_equal("the writers are asked for, and there are none", SOON, 1, async || {
        let look_at = place.look_at(&pool).await?;
        let covered = place.saw(&look_at, &[1], false);
        place.handled(covered);
        Ok(place.mark().position)
    })
    .await?;
    place.store_now(&pool).await?;
    let marked = "select distinct shard from messaging.marks where mark = 1 order by shard";
    let marked: Vec<i16> = sqlx::query_scalar(marked).fetch_all(&database.pool).await?;
    assert_eq!(marked, kept);
    drop(leases);
    tasks.drain(SOON).await
}

/// After a failover that lost commits, a job runs under a claim of a worker that has done it long ago. The worker lives, so
/// its lease never expires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_end_a_failover_has_lost_is_done_again() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&pool, QUEUE, &[event()]).await?;
    let signing = Signing::new("worker");
    signing.gate.add_permits(2);
    let worker = Worker::new(pool.clone(), signing.config(), signing);
    sqlx::raw_sql("create table signatures (name text); grant insert on signatures to articurated_workers")
        .execute(&database.pool)
        .await?;
    assert_eq!(worker.tick().await?, [Outcome::Done]);
    assert!(worker.tick().await?.is_empty());

    // The last heartbeat, which says that the job has ended, is lost with it.
    sqlx::raw_sql(
        "update messaging.inbox set status = 'running', finished_at = null, result = null;
         update messaging.workers set oldest_claim = (select claim_id from messaging.claims);
         create or replace function messaging.timeline() returns text language sql stable return 'another server'",
    )
    .execute(&database.pool)
    .await?;
    assert_eq!(worker.tick().await?, [Outcome::Done]);
    let attempts: Vec<i32> = sqlx::query_scalar("select attempts from messaging.inbox").fetch_all(&pool).await?;
    assert_eq!(attempts, [2]);
    Ok(())
}

#[tokio::test]
async fn an_event_that_comes_twice_is_one_job() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let (event, other) = (event(), event());
    assert_eq!(inbox::insert(&pool, QUEUE, std::slice::from_ref(&event)).await?, 1);
    assert_eq!(inbox::insert(&pool, QUEUE, &[event.clone(), other]).await?, 1, "only the other is new");
    for job in claim(&pool, "worker").await? {
        assert!(complete(&pool, &job).await?);
    }
    // A replay, long after it was done.
    assert_eq!(inbox::insert(&pool, QUEUE, &[event]).await?, 0);
    assert!(claim(&pool, "worker").await?.is_empty(), "a done job is not claimed again");
    Ok(())
}

/// The broker has confirmed, and before the relay can record that, another relay owns the shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_has_lost_its_shards_records_nothing() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let published = async || books::published(pool).await;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    // Then the relay will wait for the leases with the batch, and not with its mark.
    books::passed(pool, Consumer::Relay, SOON).await?;
    assert_eq!(published().await?, 1);

    let mut takeover = pool.begin().await?;
    sqlx::query(
        "with successor as (insert into messaging.readers values ('relay', 'successor', 'infinity'))
         update messaging.shard_leases set owner = 'successor', epoch = epoch + 1",
    )
    .execute(&mut *takeover)
    .await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let recording = async || books::recording(pool).await;
    eventually("the relay is about to record", SOON, async || Ok((recording().await? > 0).then_some(()))).await?;
    takeover.commit().await?;
    eventually_equal("the relay has tried to record", SOON, 0, recording).await?;
    assert_eq!(published().await?, 1, "only the successor may record this event");

    sqlx::query("delete from messaging.readers where name = 'successor'").execute(pool).await?;
    eventually_equal("the next owner publishes it", SOON, 2, published).await?;
    system.finish().await
}
