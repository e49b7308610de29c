//! Leaders that freeze or die, and runs that fail.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use embedded::child::{Child, Signal, bound_to_parent};
use messaging::{RetentionConfig, TransportConfig};
use operations::ROLE;
use operations::doctor::{Surroundings, diagnose};
use runtime::Clock;
use schedules::{ATTEMPTS, Expression, Runner, Schedule, Turn};
use serde_json::json;
use sqlx::PgPool;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, eventually, programs};
use tokio::sync::Notify;

use super::{Calls, NAME, RAN_OUT, last_run, morning, pool, runs, utc};
use crate::operations::ops;

/// The promise: one lease and one tick of the successor are 9 s together; the rest is for a busy machine.
const REPLACED_WITHIN: Duration = Duration::from_secs(9 + 6);

/// A run that signals its start, and ends when it may.
#[derive(Debug, Clone, Default)]
struct Held {
    started: Arc<Notify>,
    may_end: Arc<Notify>,
    result: &'static str,
}

impl Held {
    fn schedule(&self) -> Schedule {
        let held = self.clone();
        Schedule::new(NAME, Expression::constant("0 * * * *"), chrono_tz::UTC, move |_due| {
            let held = held.clone();
            async move {
                held.started.notify_one();
                held.may_end.notified().await;
                Ok::<_, String>(json!(held.result))
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_slept_past_its_lease_records_nothing() -> Result<()> {
    let database = Database::new().await?;
    let (pool, clock, held) = (pool(&database).await?, morning(), Held::default());
    let sleeper = Runner::new(held.schedule(), pool.clone(), clock.clone(), "sleeper");
    sleeper.register().await?;
    clock.advance(TimeDelta::hours(1));
    let sleeping = tokio::spawn(async move { sleeper.tick().await });
    held.started.notified().await;
    let leased_until = async || {
        let lease = "select leased_until from messaging.schedules";
        anyhow::Ok(sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>(lease).fetch_one(&pool).await?)
    };
    let before = leased_until().await?;
    eventually("the lease is renewed while it runs", SOON, async || Ok((leased_until().await? > before).then_some(())))
        .await?;

    let other = Held { result: "by the successor", ..Held::default() };
    let successor = Runner::new(other.schedule(), pool.clone(), clock.clone(), "successor");
    assert_eq!(successor.tick().await?, Turn::Following);
    sqlx::query(RAN_OUT).execute(&database.pool).await?;
    let taken_over = tokio::spawn(async move { successor.tick().await });
    other.started.notified().await;
    held.may_end.notify_one();
    assert_eq!(sleeping.await??, Turn::Lost);
    let run = |status: &str| (utc("2026-01-10T06:00:00Z"), status.to_owned(), 2, "successor".to_owned(), 0);
    assert_eq!(runs(&pool).await?, [run("running")], "only the successor may record how it ended");

    other.may_end.notify_one();
    assert_eq!(taken_over.await??, Turn::Done);
    assert_eq!(runs(&pool).await?, [run("done")]);
    let result: serde_json::Value =
        sqlx::query_scalar("select result from messaging.schedule_runs").fetch_one(&pool).await?;
    assert_eq!(result, json!("by the successor"));
    Ok(())
}

/// Starts a run and dies in the middle of it.
async fn dies(database: &Database, pool: &PgPool, clock: &Clock, owner: &str) -> Result<()> {
    let held = Held::default();
    let doomed = Runner::new(held.schedule(), pool.clone(), clock.clone(), owner);
    tokio::select! {
        turn = doomed.tick() => panic!("{turn:?}"),
        () = held.started.notified() => {}
    }
    sqlx::query(RAN_OUT).execute(&database.pool).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_kills_every_leader_fails_for_good() -> Result<()> {
    let database = Database::new().await?;
    let (pool, clock) = (pool(&database).await?, morning());
    Runner::new(Held::default().schedule(), pool.clone(), clock.clone(), "first").register().await?;
    clock.advance(TimeDelta::hours(1));
    for attempt in 1..=ATTEMPTS {
        dies(&database, &pool, &clock, &format!("leader {attempt}")).await?;
        // Later ones are due by now, and wait: the started run ends first.
        clock.advance(TimeDelta::hours(1));
    }
    let calls = Calls::default();
    let due = utc("2026-01-10T06:00:00Z");
    let last = Schedule::new(NAME, Expression::constant("0 * * * *"), chrono_tz::UTC, {
        let calls = calls.clone();
        move |due| {
            calls.note(due);
            async { Ok::<_, String>(json!(null)) }
        }
    });
    let last = Runner::new(last, pool.clone(), clock.clone(), "last");
    assert_eq!(last.tick().await?, Turn::Failed);
    assert_eq!(runs(&pool).await?, [(due, "failed".to_owned(), ATTEMPTS, "leader 5".to_owned(), 0)]);
    assert_eq!(last.tick().await?, Turn::Done, "and the schedule goes on");
    assert_eq!(calls.taken(), [(utc("2026-01-10T11:00:00Z"), 4)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_run_is_retried_and_then_shown_to_operators() -> Result<()> {
    /// All tests of this process count in the same metrics, and the others call theirs otherwise.
    const OWN: &str = "toast";

    runtime::metrics::install();
    let system = System::start(|_| ()).await?;
    let (database, clock) = (&system.database, Clock::fixed(Clock::system().now()));
    let pool = pool(database).await?;
    let failing = Schedule::new(OWN, Expression::constant("* * * * *"), chrono_tz::UTC, |due| async move {
        assert!(due.attempt != 2, "the cup has broken");
        Err::<serde_json::Value, _>("no tea is left")
    });
    let runner = Runner::new(failing, pool.clone(), clock.clone(), "the cook");
    runner.register().await?;
    clock.advance(TimeDelta::minutes(1));
    let operators = database.pool_as(ROLE).await?;
    let surroundings = Surroundings {
        transport: TransportConfig::default(),
        retention: RetentionConfig::default(),
        clock: clock.clone(),
    };
    for wait in [1, 2, 4, 8] {
        assert_eq!(runner.tick().await?, Turn::Retried);
        assert_eq!(runner.tick().await?, Turn::Idle, "not before its back-off has passed");
        let found = diagnose(&operators, &surroundings).await?;
        assert!(found.findings.iter().any(|finding| finding.code == "SCHEDULE_FAILING"), "{found:#?}");
        clock.advance(TimeDelta::minutes(wait) - TimeDelta::milliseconds(1));
        assert_eq!(runner.tick().await?, Turn::Idle);
        clock.advance(TimeDelta::milliseconds(1));
    }
    assert_eq!(runner.tick().await?, Turn::Failed);

    let shown = system.api.get("/ops/schedules").await?.expect(200).json();
    let run = last_run(&shown, OWN);
    assert_eq!((&run["status"], &run["attempt"]), (&json!("failed"), &json!(ATTEMPTS)), "{shown}");
    assert_eq!((&run["error"], &run["owner"]), (&json!("no tea is left"), &json!("the cook")), "{shown}");
    let said = ops(database, &["schedules", "--json"]).await?.exited(0).json();
    assert_eq!(last_run(&said, OWN), run);
    let table = ops(database, &["schedules"]).await?.exited(0).out;
    assert!(table.contains("failed at attempt 5: no tea is left") && table.contains("the cook"), "{table}");
    let doctor = ops(database, &["doctor"]).await?.exited(1).out;
    assert!(
        doctor.contains("the run of the schedule toast that was due at") && doctor.contains("no tea is left"),
        "{doctor}"
    );
    let metrics = runtime::metrics::render();
    for wanted in [r#"schedule="toast",status="retried"} 4"#, r#"schedule="toast",status="failed"} 1"#] {
        assert!(metrics.contains(&format!("schedule_runs_total{{{wanted}")), "{wanted}");
    }
    assert!(metrics.contains(r#"schedule_run_duration_seconds_count{schedule="toast"} 5"#));

    // The next due time starts a new run, and its success is what operators see.
    clock.advance(TimeDelta::hours(1));
    let mended = Schedule::new(OWN, Expression::constant("* * * * *"), chrono_tz::UTC, |_| async {
        Ok::<_, String>(json!("there is tea again"))
    });
    let mended = Runner::new(mended, pool, clock.clone(), "the cook");
    mended.register().await?;
    assert_eq!(mended.tick().await?, Turn::Done);
    let found = diagnose(&operators, &surroundings).await?;
    assert!(!found.findings.iter().any(|finding| finding.code == "SCHEDULE_FAILED"), "{found:#?}");
    system.finish().await
}

/// The real program, frozen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_is_replaced_in_time_and_follows_when_it_wakes() -> Result<()> {
    let system = System::commands_only().await?;
    let pool = &system.database.pool;
    let leader = async || {
        let leader = "select lease_owner from messaging.schedules
                      where name = 'partition_maintenance' and leased_until > clock_timestamp()";
        anyhow::Ok(sqlx::query_scalar::<_, Option<String>>(leader).fetch_optional(pool).await?.flatten())
    };
    let folder = tokio::task::spawn_blocking(programs::folder).await?;
    let mut program = bound_to_parent(Signal::SIGKILL, folder.join("outbox-relay"));
    program.env("DATABASE_URL", &system.database.url).env("RELAY_PORT", embedded::free_port()?.to_string());
    program.env_remove("RABBITMQ_URL").stdout(Stdio::null()).stderr(Stdio::null());
    let frozen = Child::spawn("outbox-relay", program)?;
    eventually("the process leads the schedule", SOON, async || leader().await).await?;

    frozen.signal(Signal::SIGSTOP);
    let since = Instant::now();
    let successor = system.another_relay("successor").await?;
    eventually_equal("another instance leads", REPLACED_WITHIN, Some("successor".to_owned()), leader).await?;
    eprintln!("a frozen leader of a schedule was replaced after {:.1?}", since.elapsed());

    frozen.signal(Signal::SIGCONT);
    let both = "select count(distinct owner) from messaging.held_shards";
    eventually_equal("it is at work again", SOON, 2, async || tests::books::count(pool, both).await).await?;
    assert_eq!(leader().await?.as_deref(), Some("successor"));
    successor.drain(SOON).await?;
    let since = Instant::now();
    eventually("an instance leads again", SOON, async || leader().await).await?;
    assert!(since.elapsed() < REPLACED_WITHIN, "the successor gave up the lead");
    drop(frozen);
    system.finish().await
}
