//! A dependency that is down: its queue waits for it, one job at a time finds out whether it works, and no attempt is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use chrono::DateTime;
use contracts::Queue;
use messaging::inbox::{self, Claim, Claimed, Job, WorkerLease};
use messaging::retry::RetryPolicy;
use messaging::worker::{Completed, Failure, Handler, Isolation, PATIENCE, Worker, WorkerConfig};
use runtime::telemetry::MessagingSystem;
use runtime::{Ids, Tasks};
use serde_json::json;
use sqlx::PgPool;
use tests::books::count;
use tests::events::{deliver, event};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, eventually};
use tokio_util::sync::CancellationToken;

use crate::operations::ops;

const QUEUE: Queue = Queue::Notifications;
const SLOTS: usize = 4;

/// Needs something that may be down.
#[derive(Clone)]
struct Dependent {
    is_up: Arc<AtomicBool>,
    tries: Arc<AtomicUsize>,
}

impl Handler for Dependent {
    async fn handle(&self, _job: &Job) -> Result<Completed, Failure> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        if self.is_up.load(Ordering::SeqCst) {
            Ok(Completed::new(json!({})))
        } else {
            Err(Failure::Unavailable("the printer is on fire".to_owned()))
        }
    }
}

fn config(owner: &str) -> WorkerConfig {
    let policy = RetryPolicy { unit: Duration::from_millis(1_200), ..RetryPolicy::DOCUMENTS };
    let (owner, isolation) = (owner.to_owned(), Isolation::new());
    let system = MessagingSystem::Postgresql;
    WorkerConfig { queue: QUEUE, system, slots: SLOTS, policy, owner, isolation, patience: PATIENCE, relay: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_stops_all_workers_of_the_queue_and_costs_no_attempt() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let events: Vec<_> = (0..20).map(|_| event()).collect();
    deliver(&pool, QUEUE, &events).await?;
    let handler = Dependent { is_up: Arc::default(), tries: Arc::default() };
    let tasks = Tasks::new(CancellationToken::new());
    for owner in ["one", "other"] {
        tasks.spawn("worker", Worker::new(pool.clone(), config(owner), handler.clone()).run(tasks.clone()));
    }

    let failures = "select coalesce(max(failures), 0)::bigint from messaging.outages";
    let failed = eventually("three probes have failed", SOON, async || {
        Ok(Some(count(&database.pool, failures).await?).filter(|failures| *failures >= 4))
    })
    .await?;
    // Each worker may have started its slots before the outage was known. Then a probe is a try, and one may be running.
    let (tries, most) = (handler.tries.load(Ordering::SeqCst), 2 * SLOTS + usize::try_from(failed)?);
    assert!(tries <= most, "{tries} tries, at most {most} expected");
    let charged = "select count(*) from messaging.inbox where status <> 'running' and attempts > 0";
    assert_eq!(count(&database.pool, charged).await?, 0);
    let status = ops(&database, &["status"]).await?.exited(0).out;
    assert!(status.contains("by an outage, next try") && status.contains("the printer is on fire"), "{status}");

    handler.is_up.store(true, Ordering::SeqCst);
    let done = "select count(*) from messaging.inbox where status = 'done' and attempts = 1";
    eventually_equal("all jobs are done", SOON, 20, async || count(&database.pool, done).await).await?;
    assert_eq!(count(&database.pool, "select count(*) from messaging.outages").await?, 0);
    tasks.drain(SOON).await
}

/// Claims jobs as a worker does whose lease ends in a while.
async fn claim(pool: &PgPool, owner: &str) -> Result<Claimed> {
    let id = Ids::system().next();
    let lease = WorkerLease { owner, oldest_claim: id, lasts: SOON };
    let timeline: String = sqlx::query_scalar("select messaging.timeline()").fetch_one(pool).await?;
    inbox::extend_lease(pool, QUEUE, lease, &timeline).await?;
    let claim = Claim { id, owner, timeline: &timeline, bound: DateTime::UNIX_EPOCH, limit: 10, find_left: true };
    Ok(inbox::claim(pool, QUEUE, claim).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_at_a_time_probes_and_what_becomes_of_it_decides() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    deliver(&pool, QUEUE, &[event(), event(), event()]).await?;
    let down = "insert into messaging.outages (queue, reason, failures, next_probe_at)
                values ('notifications', 'on fire', 3, clock_timestamp())";
    sqlx::query(down).execute(&database.pool).await?;

    let (one, other) = tokio::try_join!(claim(&pool, "one"), claim(&pool, "other"))?;
    let claimed: Vec<_> = one.jobs.iter().chain(&other.jobs).collect();
    assert_eq!(claimed.len(), 1, "one of them probes, with one job");
    assert_eq!(claimed[0].probes, Some(3));
    let left = one.first_left.or(other.first_left);
    assert!(left.is_some(), "the bound of the claims must not pass the jobs that were left");
    assert!(!claim(&pool, "one").await?.looked, "nothing more while the probe runs");

    // It fails: the same job is as it was, and the pause restarts.
    let mut tx = pool.begin().await?;
    let pause = Duration::from_secs(3_600);
    assert!(inbox::fail(&mut tx, claimed[0], "on fire", inbox::Next::Later(pause)).await?);
    assert!(!inbox::note_outage(&mut tx, claimed[0], "still on fire", pause).await?, "the outage is not new");
    tx.commit().await?;
    let outage: (String, i32, bool) = sqlx::query_as(
        "select reason, failures, next_probe_at > clock_timestamp() + interval '59 minutes' from messaging.outages",
    )
    .fetch_one(&pool)
    .await?;
    assert_eq!(outage, ("still on fire".to_owned(), 4, true));
    assert_eq!(count(&database.pool, "select sum(attempts) from messaging.inbox").await?, 0);
    assert!(claim(&pool, "other").await?.jobs.is_empty());

    // Another one succeeds: all the others may start.
    inbox::probe_again(&pool, QUEUE).await?;
    assert_eq!(claim(&pool, "other").await?.jobs.len(), 1);
    assert!(inbox::end_outage(&pool, QUEUE).await?);
    assert!(!inbox::end_outage(&pool, QUEUE).await?, "it has ended once");
    assert_eq!(claim(&pool, "one").await?.jobs.len(), 1, "the third one; the first is put off");
    Ok(())
}
