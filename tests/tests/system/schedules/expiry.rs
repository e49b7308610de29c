//! Return requests that no manager reviews. The shop's days are those of Asia/Kolkata, 5 h 30 min ahead of UTC.

use anyhow::Result;
use chrono::{DateTime, Utc};
use contracts::{ActorType, ReturnDocument, ReturnState, Trigger};
use runtime::Clock;
use serde_json::{Value, json};
use sqlx::PgPool;
use standalone::Part;
use tests::books::{count, rows_about};
use tests::waiting::{SOON, eventually_equal};
use tests::{System, eventually, shop};

use super::utc;

const NAME: &str = "unreviewed_returns";

/// A shop whose managers have a week for their review.
async fn shop_at(clock: &Clock, parts: &[Part]) -> Result<System> {
    let system = System::start(|options| {
        options.parts = parts.to_vec();
        options.clock = clock.clone();
        options.command.return_review_days = Some(7);
    })
    .await?;
    let known = "select count(*) from messaging.schedules where name = 'unreviewed_returns'";
    eventually("the schedule is known", SOON, async || {
        Ok((count(&system.database.pool, known).await? > 0).then_some(()))
    })
    .await?;
    Ok(system)
}

/// Waits for the run of a due time and returns its result.
async fn run_for(pool: &PgPool, due_at: DateTime<Utc>) -> Result<Value> {
    eventually("the run is done", SOON, async || {
        let done = "select result from messaging.schedule_runs where name = $1 and due_at = $2 and status = 'done'";
        Ok(sqlx::query_scalar(done).bind(NAME).bind(due_at).fetch_optional(pool).await?)
    })
    .await
}

async fn state(pool: &PgPool, returned: &ReturnDocument) -> Result<String> {
    let state = "select state from command.returns where id = $1";
    Ok(sqlx::query_scalar(state).bind(returned.id).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreviewed_return_is_rejected_after_its_last_business_day() -> Result<()> {
    let clock = Clock::fixed(utc("2026-01-10T10:00:00Z"));
    let system = shop_at(&clock, &[Part::Command, Part::Relay, Part::Query]).await?;
    let second = system.second_command_process().await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let forgotten = shop::return_in(api, ReturnState::Requested).await?;
    let approved = shop::return_in(api, ReturnState::Approved).await?;
    // In India it is 11 January already.
    clock.set(utc("2026-01-10T18:30:00Z"));
    let a_day_later = shop::return_in(api, ReturnState::Requested).await?;

    clock.set(utc("2026-01-17T18:29:59.999999Z"));
    let run = run_for(pool, utc("2026-01-16T18:30:00Z")).await?;
    assert_eq!((&run["rejected"], state(pool, &forgotten).await?.as_str()), (&json!(0), "REQUESTED"), "its last day");
    clock.set(utc("2026-01-17T18:30:00Z"));
    let run = run_for(pool, utc("2026-01-17T18:30:00Z")).await?;
    assert_eq!(run, json!({ "rejected": 1, "decided_meanwhile": 0, "requested_before": "2026-01-10T18:30:00Z" }));

    let token = system.token("return", forgotten.id, 2).await?;
    let path = format!("/returns/{}", forgotten.id);
    let returned = api.read(&path, &token).await?.expect(200).returned();
    assert_eq!((returned.state, returned.rejected_at), (ReturnState::Rejected, Some(clock.now())));
    assert_eq!(returned.rejection_category.as_deref(), Some("REVIEW_EXPIRED"));
    assert_eq!(returned.rejection_reason.as_deref(), Some("not reviewed within 7 days"));
    let history = api.read(&format!("{path}/history"), &token).await?.expect(200).history();
    let entry = &history[1];
    assert_eq!(
        (entry.actor_type, entry.trigger, entry.actor.as_str()),
        (ActorType::System, Trigger::Scheduler, "system")
    );
    assert_eq!((entry.from_state.as_deref(), entry.to_state.as_str()), (Some("REQUESTED"), "REJECTED"));
    assert_eq!((entry.reason.as_deref(), &entry.request_id), (Some("not reviewed within 7 days"), &None));
    assert_eq!(rows_about(pool, forgotten.id).await?, (2, 2), "one audit row and one event");
    let told = "select count(*) from messaging.inbox join messaging.outbox using (event_id)
                where queue = 'notifications' and event_type = 'return.rejected'";
    eventually_equal("the customer will be told", SOON, 1, async || count(pool, told).await).await?;
    assert_eq!(
        (state(pool, &approved).await?, state(pool, &a_day_later).await?),
        ("APPROVED".into(), "REQUESTED".into())
    );
    // Rejected units can be requested again.
    let order = shop::order_in(api, contracts::OrderState::Delivered).await?;
    shop::request_return(api, &order, 0, 1).await?;
    second.stop().await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_rejects_a_thousand_returns_of_one_instant() -> Result<()> {
    let clock = Clock::fixed(utc("2026-01-10T10:00:00Z"));
    let system = shop_at(&clock, &[Part::Command]).await?;
    let (pool, due) = (&system.database.pool, utc("2026-01-17T18:30:00Z"));
    shop::return_in(&system.api, ReturnState::Requested).await?;
    let copies = "insert into command.returns
                      (id, order_id, state, version, document, items, progress, created_at, updated_at)
                  select gen_random_uuid(), order_id, state, version, document, items, progress, created_at, updated_at
                  from command.returns cross join generate_series(1, 1100)";
    sqlx::query(copies).execute(pool).await?;
    let audit_rows = "select command.append_transitions(array_agg(
                          row('return', id, 1, null, 'REQUESTED', 'system', 'SYSTEM', 'API_CALL', null, '{}', null, null, null, created_at, '', '')
                          ::command.new_transition))
                      from command.returns where id not in (select entity_id from command.state_transitions)";
    sqlx::query(audit_rows).execute(pool).await?;
    clock.set(due);
    assert_eq!(run_for(pool, due).await?["rejected"], 1_101);
    assert_eq!(count(pool, "select count(*) from command.returns where state <> 'REJECTED'").await?, 0);
    // `abandon`, because the copies have no events.
    system.abandon().await
}

/// Statements that wait for a lock of the returns.
async fn waiting(pool: &PgPool) -> Result<i64> {
    let waiting = "select count(*) from pg_stat_activity
                   where datname = current_database() and wait_event_type = 'Lock'";
    count(pool, waiting).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_manager_and_the_clock_one_decides() -> Result<()> {
    let clock = Clock::fixed(utc("2026-01-10T10:00:00Z"));
    let system = shop_at(&clock, &[Part::Command]).await?;
    let pool = &system.database.pool;
    let returned = shop::return_in(&system.api, ReturnState::Requested).await?;
    let due = utc("2026-01-17T18:30:00Z");
    let led = "select count(*) from messaging.schedules where name = 'unreviewed_returns' and leased_until > clock_timestamp()";
    eventually_equal("this instance leads the schedule", SOON, 1, async || count(pool, led).await).await?;
    // Another process: in one process, one would wait for the other in the batcher.
    let second = system.second_command_process().await?;

    // The whole table, because a statement does not wait for a row. Both are let go at once.
    let mut held = pool.begin().await?;
    sqlx::query("lock table command.returns in exclusive mode").execute(&mut *held).await?;
    let (api, id) = (second.api.clone(), returned.id);
    let approving = tokio::spawn(async move { shop::return_step(&api, id, "approve").await });
    clock.set(due);
    eventually_equal("both decisions wait", SOON, 2, async || waiting(pool).await).await?;
    held.rollback().await?;
    let answer = approving.await??;
    let run = run_for(pool, due).await?;
    match (run["rejected"].as_i64(), state(pool, &returned).await?.as_str()) {
        (Some(0), "APPROVED") => drop(answer.expect(200)),
        (Some(1), "REJECTED") => {
            let refused = answer.refused(409, "INVALID_STATE_TRANSITION");
            assert_eq!(refused.details["current_state"], "REJECTED");
        }
        other => panic!("{other:?}: {run}"),
    }
    assert_eq!(rows_about(pool, returned.id).await?, (2, 2));
    second.stop().await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_a_request_waits_and_the_schedule_is_off() -> Result<()> {
    let clock = Clock::fixed(utc("2026-01-10T10:00:00Z"));
    let system = shop_at(&clock, &[Part::Command]).await?;
    let returned = shop::return_in(&system.api, ReturnState::Requested).await?;
    let database = system.stop().await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Command];
        options.clock = clock.clone();
    })
    .await?;
    let pool = &system.database.pool;
    let off = "select count(*) from messaging.schedules where name = 'unreviewed_returns' and next_due_at is null";
    eventually_equal("the schedule is off", SOON, 1, async || count(pool, off).await).await?;
    clock.set(utc("2027-01-10T10:00:00Z"));
    // A step of another return shows that the process is alive in the new year.
    shop::return_in(&system.api, ReturnState::Approved).await?;
    assert_eq!(state(pool, &returned).await?, "REQUESTED");
    let runs = "select count(*) from messaging.schedule_runs where name = 'unreviewed_returns'";
    assert_eq!(count(pool, runs).await?, 0);
    system.finish().await
}
