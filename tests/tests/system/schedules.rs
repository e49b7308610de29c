//! Schedules run on one instance, once for each due time, and each run is recorded.

mod expiry;
mod old_keys;
mod partitions;
mod trouble;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use runtime::Clock;
use schedules::{Due, Expression, Missed, Runner, Schedule, Turn};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::books::count;
use tests::waiting::SOON;
use tests::{Database, eventually};

const NAME: &str = "tea";
const RAN_OUT: &str = "update messaging.schedules set leased_until = '-infinity'";

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

/// 10:30 in India.
fn morning() -> Clock {
    Clock::fixed(utc("2026-01-10T05:00:00Z"))
}

/// What a handler was called with.
#[derive(Debug, Clone, Default)]
struct Calls(Arc<Mutex<Vec<Due>>>);

impl Calls {
    fn note(&self, due: Due) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(due);
    }

    fn taken(&self) -> Vec<(DateTime<Utc>, i32)> {
        let calls = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        calls.into_iter().map(|due| (due.at, due.missed)).collect()
    }
}

/// A schedule in India that records its calls.
fn noting(expression: &'static str, calls: &Calls) -> Schedule {
    let calls = calls.clone();
    Schedule::new(NAME, Expression::constant(expression), chrono_tz::Asia::Kolkata, move |due| {
        calls.note(due);
        async move { Ok::<_, String>(json!({ "for": due.at })) }
    })
}

/// A pool with the rights of a process.
async fn pool(database: &Database) -> Result<PgPool> {
    database.pool_as("articurated_query").await
}

/// Due time, status, attempts, owner and missed times of each run.
async fn runs(pool: &PgPool) -> Result<Vec<(DateTime<Utc>, String, i32, String, i32)>> {
    let runs =
        "select due_at, status, attempt, owner, missed from messaging.schedule_runs where name = $1 order by due_at";
    Ok(sqlx::query_as(runs).bind(NAME).fetch_all(pool).await?)
}

async fn all_that_is_due(runner: &Runner) -> Result<usize> {
    let mut done = 0;
    loop {
        match runner.tick().await? {
            Turn::Done => done += 1,
            Turn::Idle => return Ok(done),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_instances_one_leads_and_each_due_time_is_run_once() -> Result<()> {
    let database = Database::new().await?;
    let (pool, clock, calls) = (pool(&database).await?, morning(), Calls::default());
    let runner = |owner| Runner::new(noting("0 * * * *", &calls), pool.clone(), clock.clone(), owner);
    let (one, other) = (runner("one"), runner("other"));
    tokio::try_join!(one.register(), other.register())?;
    let mut leaders = Vec::new();
    for _ in 0..24 {
        clock.advance(TimeDelta::hours(1));
        leaders.push(match tokio::try_join!(one.tick(), other.tick())? {
            (Turn::Done, Turn::Following) => "one",
            (Turn::Following, Turn::Done) => "other",
            turns => panic!("{turns:?}"),
        });
    }
    assert!(leaders.iter().all(|leader| *leader == leaders[0]), "{leaders:?}");
    let wanted: Vec<_> = (1..=24).map(|hour| (utc("2026-01-10T04:30:00Z") + TimeDelta::hours(hour), 0)).collect();
    assert_eq!(calls.taken(), wanted);
    let recorded = runs(&pool).await?;
    assert!(
        recorded.iter().all(
            |(_, status, attempt, owner, _)| (status.as_str(), *attempt, owner.as_str()) == ("done", 1, leaders[0])
        )
    );
    assert_eq!(recorded.len(), 24);

    // An instance that stops gives up its lead, so no other waits until the lease expires.
    let (leader, follower) = if leaders[0] == "one" { (one, other) } else { (other, one) };
    leader.release().await?;
    clock.advance(TimeDelta::hours(1));
    assert_eq!(follower.tick().await?, Turn::Done);
    assert_eq!(leader.tick().await?, Turn::Following);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_schedule_does_not_run_for_the_past_and_catches_up_missed_runs_as_it_says() -> Result<()> {
    for (missed, wanted) in [
        (Missed::Once, vec![("2026-01-14T18:30:00Z", 4)]),
        (Missed::Each { at_most: 2 }, vec![("2026-01-13T18:30:00Z", 3), ("2026-01-14T18:30:00Z", 0)]),
        (
            Missed::Each { at_most: 31 },
            vec![
                ("2026-01-10T18:30:00Z", 0),
                ("2026-01-11T18:30:00Z", 0),
                ("2026-01-12T18:30:00Z", 0),
                ("2026-01-13T18:30:00Z", 0),
                ("2026-01-14T18:30:00Z", 0),
            ],
        ),
    ] {
        let database = Database::new().await?;
        let (pool, clock, calls) = (pool(&database).await?, morning(), Calls::default());
        let runner =
            |owner| Runner::new(noting("0 0 * * *", &calls).missed(missed), pool.clone(), clock.clone(), owner);
        let first = runner("before");
        first.register().await?;
        assert_eq!(first.tick().await?, Turn::Idle, "a new schedule has no past");
        first.release().await?;

        clock.set(utc("2026-01-14T20:00:00Z"));
        let second = runner("after");
        second.register().await?;
        let wanted: Vec<_> = wanted.into_iter().map(|(at, missed)| (utc(at), missed)).collect();
        assert_eq!(all_that_is_due(&second).await?, wanted.len());
        assert_eq!(calls.taken(), wanted, "{missed:?}");
        let recorded: Vec<_> = runs(&pool).await?.into_iter().map(|(at, _, _, _, missed)| (at, missed)).collect();
        assert_eq!(recorded, wanted, "{missed:?}");
        clock.set(utc("2026-01-15T18:30:00Z"));
        assert_eq!(all_that_is_due(&second).await?, 1, "and then it goes on");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_settings_take_effect_on_restart() -> Result<()> {
    let database = Database::new().await?;
    let (pool, clock, calls) = (pool(&database).await?, morning(), Calls::default());
    let runner = |expression, owner| Runner::new(noting(expression, &calls), pool.clone(), clock.clone(), owner);
    let (midnight, one) = (runner("0 0 * * *", "old"), utc("2026-01-10T19:30:00Z"));
    midnight.register().await?;
    clock.set(utc("2026-01-10T18:30:00Z"));
    assert_eq!(all_that_is_due(&midnight).await?, 1);

    let later = runner("0 1 * * *", "new");
    later.register().await?;
    clock.set(one);
    assert_eq!(midnight.tick().await?, Turn::Following, "it has the old expression");
    sqlx::query(RAN_OUT).execute(&database.pool).await?;
    assert_eq!(midnight.tick().await?, Turn::Following, "and does not lead, though no other instance does");
    assert_eq!(all_that_is_due(&later).await?, 1);
    assert_eq!(calls.taken(), [(utc("2026-01-10T18:30:00Z"), 0), (one, 0)]);
    later.release().await?;

    // Switched off for some days, and on again.
    let tasks = runtime::Tasks::new(tokio_util::sync::CancellationToken::new());
    schedules::switch_off(NAME, &pool, &clock, &tasks);
    let off = async || count(&pool, "select count(*) from messaging.schedules where next_due_at is null").await;
    eventually("the schedule is off", SOON, async || Ok((off().await? == 1).then_some(()))).await?;
    tasks.drain(SOON).await?;
    assert_eq!(later.tick().await?, Turn::Following);
    clock.set(one + TimeDelta::days(5) + TimeDelta::hours(2));
    later.register().await?;
    assert_eq!(all_that_is_due(&later).await?, 0, "due times while it was off are not caught up");
    clock.set(one + TimeDelta::days(6));
    assert_eq!(all_that_is_due(&later).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_expression_is_refused_at_the_start() -> Result<()> {
    let folder = tokio::task::spawn_blocking(tests::programs::folder).await?;
    let mut program = tokio::process::Command::new(folder.join("command"));
    program.env("DATABASE_URL", "postgres://127.0.0.1:1/x").env("RETURN_REVIEW_CRON", "at midnight");
    let output = program.kill_on_drop(true).output().await?;
    let said = String::from_utf8(output.stderr)?;
    let first = said.lines().next().context("a sentence")?;
    assert!(first.contains("RETURN_REVIEW_CRON") && first.contains("expected a cron expression"), "{said}");
    assert!(!output.status.success());
    Ok(())
}

/// The last run of a schedule, as operators see it.
fn last_run<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let schedules = answer["schedules"].as_array().expect("a list");
    let schedule = schedules.iter().find(|schedule| schedule["name"] == name);
    &schedule.unwrap_or_else(|| panic!("{name} in {answer}"))["last_run"]
}
