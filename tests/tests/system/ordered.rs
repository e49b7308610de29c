//! Ordered queues: an event of an aggregate has its turn when all earlier ones are done or discarded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{Envelope, Queue};
use messaging::TransportConfig;
use messaging::inbox::{self, Claim, Job, WorkerLease};
use messaging::retry::{RetryPolicy, Then};
use messaging::worker::{Completed, Failure, Handler, Isolation, Outcome, Worker, WorkerConfig};
use operations::read::stuck;
use operations::write::{Operator, Source, skip};
use runtime::telemetry::MessagingSystem;
use runtime::{Clock, Ids, Tasks};
use serde_json::json;
use sqlx::PgPool;
use standalone::Part;
use tests::books::count;
use tests::events::{append, deliver, event};
use tests::ordered::{Plan, QUEUE, run};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::operations::{act, execute, ops};

const ORDERED: &str = "update messaging.queues set ordered = true where name = 'invoices'";

/// A database in which the queue is ordered.
async fn database() -> Result<Database> {
    let database = Database::new().await?;
    execute(&database.pool, ORDERED).await?;
    Ok(database)
}

/// The events of an aggregate with these versions.
fn versions(aggregate_id: Uuid, versions: impl IntoIterator<Item = i32>) -> Vec<Envelope> {
    let event_type = "order.shipped".to_owned();
    let of =
        |aggregate_version| Envelope { aggregate_id, aggregate_version, event_type: event_type.clone(), ..event() };
    versions.into_iter().map(of).collect()
}

/// How the attempts at a version fail, the last entry first.
type Script = BTreeMap<i32, Vec<fn() -> Failure>>;

/// Fails as its script says for a version, once for each entry; after that its jobs are done.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Handler for Scripted {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let mut script = self.0.lock().expect("no holder panics");
        match script.get_mut(&job.aggregate_version).and_then(Vec::pop) {
            Some(failure) => Err(failure()),
            None => Ok(Completed::new(json!({}))),
        }
    }
}

fn worker(pool: PgPool, handler: Scripted) -> Arc<Worker<Scripted>> {
    let config = WorkerConfig {
        queue: QUEUE,
        system: MessagingSystem::Postgresql,
        slots: 8,
        policy: RetryPolicy { unit: Duration::from_millis(1), waits: &[1, 1, 1], then: Then::GiveUp },
        owner: "worker".to_owned(),
        isolation: Isolation::new(),
        patience: SOON,
        relay: None,
    };
    Worker::new(pool, config, handler)
}

/// Status of the jobs of the queue, by version.
async fn statuses(pool: &PgPool) -> Result<Vec<(i32, String)>> {
    let statuses = "select aggregate_version, status from messaging.inbox where queue = 'invoices' order by 1";
    Ok(sqlx::query_as(statuses).fetch_all(pool).await?)
}

/// The same, for comparison.
fn are(expected: &[(i32, &str)]) -> Vec<(i32, String)> {
    expected.iter().map(|(version, status)| (*version, (*status).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_waits_until_the_one_before_it_is_done_or_discarded() -> Result<()> {
    let database = database().await?;
    let pool = &database.pool;
    let script = Scripted::default();
    let dies: Vec<fn() -> Failure> =
        vec![|| Failure::Dead("no such address".to_owned()), || Failure::Retry("a bad day".to_owned())];
    script.0.lock().expect("no holder panics").insert(1, dies);
    let worker = worker(database.pool_as("articurated_workers").await?, script);

    let events = versions(Uuid::from_u128(7), 1..=3);
    deliver(pool, QUEUE, &events[1..]).await?;
    assert_eq!(worker.tick().await?, []);
    assert_eq!(statuses(pool).await?, are(&[(2, "blocked"), (3, "blocked")]), "version 1 is absent");
    deliver(pool, QUEUE, &events[..1]).await?;
    assert_eq!(worker.tick().await?, [Outcome::Retried]);
    assert_eq!(statuses(pool).await?, are(&[(1, "ready"), (2, "blocked"), (3, "blocked")]), "a retry is no end");
    eventually_equal("the job dies", SOON, vec![Outcome::Dead], async || Ok(worker.tick().await?)).await?;
    assert_eq!(worker.tick().await?, [], "a dead job blocks the later versions");

    let first = events[0].event_id;
    let stuck = stuck::stuck(pool, stuck::PATIENCE, 10).await?;
    let listed: Vec<_> = stuck.jobs.iter().map(|job| (job.event_id, job.reason.as_str(), job.behind)).collect();
    assert_eq!(listed, [(first, "DEAD", 2)]);
    let diagnosis = ops(&database, &["doctor"]).await?.exited(1).out;
    assert!(
        diagnosis.contains(&format!("2 events of {} wait behind the dead job", events[0].aggregate_id)),
        "{diagnosis}"
    );
    let id = first.to_string();
    let discard = ["discard", &id, "--queue", "invoices", "--reason", "the address is gone", "--json"];
    assert_eq!(ops(&database, &discard).await?.exited(0).json()["rows_changed"], 1);
    ops(&database, &discard).await?.exited(1);
    assert_eq!(statuses(pool).await?, are(&[(1, "discarded"), (2, "ready"), (3, "blocked")]));
    assert_eq!(worker.tick().await?, [Outcome::Done]);
    assert_eq!(statuses(pool).await?, are(&[(1, "discarded"), (2, "done"), (3, "ready")]));
    assert_eq!(worker.tick().await?, [Outcome::Done]);
    assert_eq!(worker.tick().await?, []);
    let record = "select count(*) from messaging.operator_actions where action = 'DISCARD' and actor = 'anita'";
    assert_eq!(count(pool, record).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_dead_job_is_discarded() -> Result<()> {
    let system = System::start(|options| options.parts = vec![Part::Operations]).await?;
    let events = [event(), event()];
    let pool = &system.database.pool;
    deliver(pool, Queue::Notifications, &events).await?;
    execute(
        pool,
        "update messaging.inbox set status = 'dead', finished_at = now();
         insert into messaging.dead_letters (queue, event_id, last_error) select queue, event_id, last_error from messaging.inbox order by event_id limit 1;
         update messaging.inbox set status = 'ready', finished_at = null
         where event_id not in (select event_id from messaging.dead_letters)",
    )
    .await?;
    let dead: Uuid = sqlx::query_scalar("select event_id from messaging.dead_letters").fetch_one(pool).await?;
    let ready = events.iter().map(|event| event.event_id).find(|id| *id != dead).context("the other one")?;
    let discard = async |id: Uuid, queue: &str| {
        let body = json!({ "reason": "it will never work", "queue": queue });
        act(&system.api, &format!("/ops/events/{id}/discard"), &body).await
    };
    discard(ready, "notifications").await?.refused(409, "JOB_NOT_DEAD");
    discard(dead, "refunds").await?.refused(404, "JOB_NOT_FOUND");
    discard(Uuid::nil(), "notifications").await?.refused(404, "JOB_NOT_FOUND");
    assert_eq!(discard(dead, "notifications").await?.expect(200).json()["rows_changed"], 1);
    discard(dead, "notifications").await?.refused(409, "JOB_NOT_DEAD");
    let left = "select count(*) from messaging.dead_letters";
    assert_eq!(count(pool, left).await?, 0);
    let settled = "select count(*) from messaging.ordered_aggregates";
    assert_eq!(count(pool, settled).await?, 0, "nothing is in order in this queue");
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skipped_event_is_a_discarded_job_of_the_ordered_queue() -> Result<()> {
    let database = database().await?;
    let (pool, aggregate) = (&database.pool, Uuid::from_u128(8));
    let mut events = versions(aggregate, 1..=3);
    events[1].event_type = "order.eaten".to_owned();
    for event in &events {
        append(&mut *pool.acquire().await?, event).await?;
    }
    let (relay, tasks) = (database.pool_as("articurated_relay").await?, Tasks::new(CancellationToken::new()));
    let (transport, settings) = (TransportConfig::default(), outbox_relay::Settings::default());
    outbox_relay::start(&relay, &database.config(), &transport, &settings, "relay", &Clock::system(), &tasks);
    let waiting =
        "select count(*) from messaging.outbox_exceptions where status = 'WAITING' and last_error is not null";
    eventually_equal("the unknown event waits", SOON, 1, async || count(pool, waiting).await).await?;
    let operator = Operator::new("anita", Source::Cli, "orders are not eaten", None)?;
    skip::skip(&database.pool_as(operations::ROLE).await?, events[1].event_id, operator).await?;
    let arrived = are(&[(1, "ready"), (2, "discarded"), (3, "ready")]);
    eventually_equal("the later version arrives", SOON, arrived, async || statuses(pool).await).await?;
    tasks.drain(SOON).await?;

    let worker = worker(database.pool_as("articurated_workers").await?, Scripted::default());
    assert_eq!(worker.tick().await?, [Outcome::Done], "version 1; version 3 is not next");
    assert_eq!(worker.tick().await?, [Outcome::Done], "version 3: version 2 is discarded");
    assert_eq!(count(pool, "select count(*) from messaging.inbox where queue <> 'invoices'").await?, 0);
    Ok(())
}

/// Waits until a statement of the test waits for a lock.
async fn waits(pool: &PgPool) -> Result<()> {
    let waiting =
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually_equal("the other statement waits", SOON, 1, async || count(pool, waiting).await).await
}

/// A job is found out of turn while the version before it is being completed. Neither may miss the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_blocked_while_its_predecessor_is_completed_still_runs() -> Result<()> {
    let database = database().await?;
    let (pool, workers) = (&database.pool, database.pool_as("articurated_workers").await?);
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let (late, early) = (versions(one, 2..=2), versions(other, 2..=2));
    deliver(pool, QUEUE, &[late.clone(), early.clone()].concat()).await?;
    let blocking = |id: Uuid| {
        let workers = workers.clone();
        tokio::spawn(async move { inbox::block(&workers, QUEUE, &[id]).await })
    };
    let status = async |event: &Envelope| -> Result<String> {
        let status = "select status from messaging.inbox where event_id = $1";
        Ok(sqlx::query_scalar(status).bind(event.event_id).fetch_one(pool).await?)
    };

    let mut completing = workers.begin().await?;
    inbox::settle(&mut completing, QUEUE, &[(one, 1)]).await?;
    let blocked = blocking(late[0].event_id);
    waits(pool).await?;
    completing.commit().await?;
    assert_eq!(blocked.await??, 0, "its turn came while the statement waited");
    assert_eq!(status(&late[0]).await?, "ready");

    let mut blocking = workers.begin().await?;
    assert_eq!(inbox::block(&mut *blocking, QUEUE, &[early[0].event_id]).await?, 1);
    let completing = {
        let workers = workers.clone();
        tokio::spawn(async move {
            let mut completing = workers.begin().await?;
            let released = inbox::settle(&mut completing, QUEUE, &[(other, 1)]).await?;
            completing.commit().await?;
            Ok::<u64, sqlx::Error>(released)
        })
    };
    waits(pool).await?;
    blocking.commit().await?;
    assert_eq!(completing.await??, 1, "it sees what was blocked while it waited");
    assert_eq!(status(&early[0]).await?, "ready");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_events_behind_a_dead_job_are_in_no_claims_way() -> Result<()> {
    const BEHIND: i32 = 3_000;
    let database = database().await?;
    let (pool, workers) = (&database.pool, database.pool_as("articurated_workers").await?);
    // Their events are not in the outbox, so the first job dies.
    let crowd = versions(Uuid::from_u128(1), 1..=BEHIND + 1);
    inbox::insert(pool, QUEUE, &crowd).await?;
    let tasks = Tasks::new(CancellationToken::new());
    tasks.spawn("worker", worker(workers.clone(), Scripted::default()).run(tasks.clone()));
    let blocked = "select count(*) from messaging.inbox where status = 'blocked'";
    let behind = i64::from(BEHIND);
    eventually_equal("all of them are blocked", SOON, behind, async || count(pool, blocked).await).await?;

    let others = versions(Uuid::from_u128(2), 1..=20);
    deliver(pool, QUEUE, &others).await?;
    let done = "select count(*) from messaging.inbox where status = 'done'";
    eventually_equal("another aggregate goes on", SOON, 20, async || count(pool, done).await).await?;
    tasks.drain(SOON).await?;
    assert_eq!(count(pool, blocked).await?, behind);
    let id = Ids::system().next();
    let lease = WorkerLease { owner: "idle", oldest_claim: id, lasts: SOON };
    let (timeline, _) = inbox::start_lease(&workers, QUEUE, lease, &[]).await?;
    let bound = chrono::DateTime::UNIX_EPOCH;
    let claim = Claim { id, owner: "idle", timeline: &timeline, bound, limit: 10, find_left: true };
    let claimed = inbox::claim_in_order(&workers, QUEUE, claim).await?;
    assert!(claimed.looked && claimed.jobs.is_empty() && claimed.out_of_turn.is_empty(), "{claimed:?}");
    assert_eq!(claimed.first_left, None, "a claim comes across none of them");
    Ok(())
}

/// `make ordered` makes a longer run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_of_an_ordered_queue_is_in_order_through_failures_kills_and_operators() -> Result<()> {
    let plan = Plan { aggregates: 100, workers: 2, kills: 4, seed: 2026, at_most: Duration::from_secs(300) };
    let report = run(&plan).await?;
    assert!(report.violations.is_empty(), "{report}");
    let counts = report.counts;
    assert_eq!((counts.done + counts.discarded, report.kills), (5_000, 4), "{report}");
    assert!(counts.discarded > 0 && counts.deaths > 0 && counts.blocked > 0, "{report}");
    Ok(())
}
