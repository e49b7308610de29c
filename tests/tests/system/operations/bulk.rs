//! Acts on all that a filter matches: what they take, what they leave, and that no restart stops or repeats them.

use anyhow::{Context, Result};
use contracts::OrderState;
use operations::write::bulk::{Stepped, step};
use serde_json::{Value, json};
use standalone::Part;
use tests::waiting::SOON;
use tests::{Database, System, books, eventually, shop};
use uuid::Uuid;

use super::{act, die, execute, ops};

/// So many e-mails whose last attempt has failed: a quarter of them timed out, and the mail server refused the others.
pub(crate) async fn dead_mails(system: &System, number: usize) -> Result<Vec<Uuid>> {
    let pool = &system.database.pool;
    for _ in 0..number {
        shop::order_in(&system.api, OrderState::PendingPayment).await?;
    }
    let came = "select count(*) from messaging.inbox where queue = 'notifications'";
    let all = i64::try_from(number)?;
    eventually("the e-mails", SOON, async || Ok((books::count(pool, came).await? == all).then_some(()))).await?;
    let dead = "update messaging.inbox set status = 'dead', attempts = 5, finished_at = clock_timestamp(),
                       last_error = case when place % 4 = 0 then 'timed out' else format('mail server said %s to a%s@example.in', 400 + place, place) end
                from (select event_id as id, row_number() over (order by event_id) as place from messaging.inbox where queue = 'notifications') as line
                where queue = 'notifications' and event_id = id";
    die(pool, dead).await?;
    Ok(sqlx::query_scalar("select event_id from messaging.inbox where queue = 'notifications' order by event_id")
        .fetch_all(pool)
        .await?)
}

/// Waits until an act has ended, or has done so many rows.
async fn reached(system: &System, id: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually("the bulk act", SOON, async || {
        let act = system.api.get(&format!("/ops/bulk-acts/{id}")).await?.expect(200).json();
        Ok(done(&act).then_some(act))
    })
    .await
}

fn has_ended(act: &Value) -> bool {
    act["status"] != "RUNNING"
}

async fn started(system: &System, body: &Value) -> Result<String> {
    let act = act(&system.api, "/ops/bulk-acts", body).await?.expect(202).json();
    Ok(act["id"].as_str().context("an id")?.to_owned())
}

const DEAD: &str = "select count(*) from messaging.dead_letters";
/// Rows of the records of batches, and distinct events in them.
const RETRIED: &str =
    "select coalesce(sum(rows_changed), 0)::bigint from messaging.operator_actions where action = 'RETRY'";
const EVENTS: &str = "select count(distinct event.id) from messaging.operator_actions, jsonb_array_elements_text(target -> 'event_ids') as event (id) \
                      where action = 'RETRY'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_match_are_retried_and_no_other() -> Result<()> {
    let system = System::start(|_| {}).await?;
    dead_mails(&system, 8).await?;
    let pool = &system.database.pool;
    let filter = json!({ "queue": "notifications", "error": "SERVER SAID 4" });
    let body = json!({ "act": "retry", "jobs": filter });
    let found = act(&system.api, "/ops/bulk-acts/preview", &body).await?.expect(200).json();
    assert_eq!((&found["matched"], &found["is_counted"]), (&json!(6), &json!(true)), "{found}");
    assert_eq!(found["groups"], json!([{ "of": "notifications", "event_type": "order.created", "number": 6 }]));
    let sample = found["sample"].as_array().context("a sample")?;
    assert_eq!(sample.len(), 6);
    assert!(sample.iter().all(|one| one["last_error"].as_str().is_some_and(|error| error.ends_with("to (hidden)"))));
    assert_eq!(books::count(pool, DEAD).await?, 8, "a preview changes nothing");

    let whole = json!({ "act": "retry", "jobs": filter, "reason": "the mail server is back" });
    let id = started(&system, &whole).await?;
    let act_now = reached(&system, &id, has_ended).await?;
    assert_eq!((&act_now["status"], &act_now["acted"], &act_now["matched"]), (&json!("DONE"), &json!(6), &json!(6)));
    assert_eq!((&act_now["actor"], &act_now["source"]), (&json!("anita"), &json!("REST")));
    assert_eq!((books::count(pool, DEAD).await?, books::count(pool, RETRIED).await?), (2, 6));
    act(&system.api, "/ops/bulk-acts", &whole).await?.refused(409, "NOTHING_SELECTED");
    let cancel = format!("/ops/bulk-acts/{id}/cancel");
    act(&system.api, &cancel, &json!({ "reason": "too late" })).await?.refused(409, "BULK_ACT_ENDED");
    let acts = system.api.get("/ops/bulk-acts").await?.expect(200).json();
    assert_eq!(acts["data"].as_array().map(Vec::len), Some(1));

    let discard = json!({ "act": "discard", "jobs": {}, "reason": "they are of yesterday" });
    let id = started(&system, &discard).await?;
    assert_eq!(reached(&system, &id, has_ended).await?["acted"], 2);
    let discarded = "select count(*) from messaging.inbox where status = 'discarded' and last_error = 'timed out'";
    assert_eq!(books::count(pool, discarded).await?, 2);
    system.finish().await
}

/// The rate is one per second. So the process stops in the middle, and another one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_neither_stops_nor_repeats_an_act() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let ids = dead_mails(&system, 7).await?;
    let alive = "delete from messaging.dead_letters where event_id = (select max(event_id::text)::uuid from messaging.inbox where queue = 'notifications');
                 update messaging.inbox set status = 'in_doubt', finished_at = null
                 where queue = 'notifications' and event_id = (select max(event_id::text)::uuid from messaging.inbox where queue = 'notifications')";
    execute(&system.database.pool, alive).await?;
    let body = json!({ "act": "retry", "jobs": { "queue": "notifications" }, "per_second": 2, "reason": "a trial" });
    let id = started(&system, &body).await?;
    let act_now = reached(&system, &id, |act| act["acted"].as_i64() > Some(0)).await?;
    assert_eq!(act_now["status"], "RUNNING", "{act_now}");
    // The first one dies once more, and the last one for the first time: neither was asked for.
    let pool = &system.database.pool;
    let again = "update messaging.inbox set status = 'dead', finished_at = clock_timestamp()
                 where queue = 'notifications' and status = 'in_doubt'
                   and event_id in (select min(event_id::text)::uuid from messaging.inbox where queue = 'notifications'
                                    union all select max(event_id::text)::uuid from messaging.inbox where queue = 'notifications')";
    die(pool, again).await?;
    let database = system.stop().await?;

    let left = books::count(&database.pool, DEAD).await?;
    assert!(left > 2 && left < 8, "{left} of seven are left");
    let system = System::start_on(database, |_| {}).await?;
    let act_now = reached(&system, &id, has_ended).await?;
    assert_eq!((&act_now["status"], &act_now["acted"]), (&json!("DONE"), &json!(6)), "{act_now}");
    let pool = &system.database.pool;
    assert_eq!((books::count(pool, RETRIED).await?, books::count(pool, EVENTS).await?), (6, 6));
    let dead = "select event_id from messaging.dead_letters order by event_id";
    let dead: Vec<Uuid> = sqlx::query_scalar(dead).fetch_all(pool).await?;
    assert_eq!(dead, [ids[0], ids[6]], "what died meanwhile stays");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_act_does_no_other_batch() -> Result<()> {
    let system = System::start(|_| {}).await?;
    dead_mails(&system, 5).await?;
    let body = json!({ "act": "discard", "jobs": {}, "per_second": 1, "reason": "a trial" });
    let id = started(&system, &body).await?;
    reached(&system, &id, |act| act["acted"].as_i64() > Some(0)).await?;
    let cancel = format!("/ops/bulk-acts/{id}/cancel");
    let cancelled = act(&system.api, &cancel, &json!({ "reason": "a mistake" })).await?.expect(200).json();
    assert_eq!(cancelled["status"], "CANCELLED");
    let acted = cancelled["acted"].as_i64().context("a number")?;
    let pool = &system.database.pool;
    // Its pace would make it wait for a second.
    execute(pool, "update messaging.bulk_acts set next_batch_at = clock_timestamp()").await?;
    assert!(matches!(step(pool).await?, Stepped::Idle(_)), "nothing is left to do");
    assert_eq!(books::count(pool, DEAD).await?, 5 - acted);
    let log = system.api.get("/ops/actions").await?.expect(200).json();
    assert_eq!((&log["data"][0]["action"], &log["data"][0]["target"]["acted"]), (&json!("CANCEL_BULK"), &json!(acted)));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_replayed_up_to_now_by_the_command_line() -> Result<()> {
    let system = System::start(|_| {}).await?;
    shop::order_in(&system.api, OrderState::ProcessingInWarehouse).await?;
    books::delivered(&system.database.pool, SOON).await?;
    let replay = ["bulk", "replay", "--type", "order.paid", "--actor", "anita"];
    let found = ops(&system.database, &[&replay[..], &["--dry-run"]].concat()).await?.exited(0).out;
    assert!(found.contains("all that match: 1") && found.contains("PUBLISHED"), "{found}");
    let done = ops(&system.database, &[&replay[..], &["--reason", "a new consumer", "--json"]].concat()).await?;
    let done = done.exited(0).json();
    assert_eq!(
        (&done["status"], &done["acted"], &done["source"]),
        (&json!("DONE"), &json!(1), &json!("CLI")),
        "{done}"
    );
    assert!(done["selection"]["to"].is_string(), "what occurs later is left alone: {done}");
    let id = done["id"].as_str().context("an id")?;
    let shown = ops(&system.database, &["bulk", "show", id]).await?.exited(0).out;
    assert!(shown.contains("done, 1 of 1"), "{shown}");
    let listed = ops(&system.database, &["bulk", "list"]).await?.exited(0).out;
    assert!(listed.contains(id), "{listed}");
    system.finish().await
}

/// Without a process `ops`, the command line does the batches; detached, they wait for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_does_without_a_process_or_leaves_it_to_one() -> Result<()> {
    let system = System::start(|_| {}).await?;
    dead_mails(&system, 4).await?;
    let database: Database = system.stop().await?;
    let retry = ["bulk", "retry", "--actor", "anita", "--reason", "a trial"];
    let done = ops(&database, &[&retry[..], &["--error", "timed out"]].concat()).await?.exited(0).out;
    assert!(done.contains("done, 1 of 1"), "{done}");
    let left = ops(&database, &[&retry[..], &["--detach"]].concat()).await?.exited(0).out;
    assert!(left.contains("running, 0 of 3"), "{left}");
    assert_eq!(books::count(&database.pool, DEAD).await?, 3);
    let system = System::start_on(database, |options| options.parts = vec![Part::Operations]).await?;
    let gone = eventually("the batches", SOON, async || {
        Ok((books::count(&system.database.pool, DEAD).await? == 0).then_some(()))
    });
    gone.await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_wrongly_is_said() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let api = &system.api;
    for (body, field) in [
        (json!({ "act": "retry", "reason": "why" }), "jobs"),
        (json!({ "act": "retry", "jobs": {}, "events": { "parked": true }, "reason": "why" }), "jobs"),
        (json!({ "act": "replay", "jobs": {}, "reason": "why" }), "events"),
        (json!({ "act": "replay", "events": {}, "reason": "why" }), "selection"),
        (json!({ "act": "retry", "jobs": {}, "per_second": 10_001, "reason": "why" }), "per_second"),
        (json!({ "act": "retry", "jobs": {}, "reason": " " }), "reason"),
        (json!({ "act": "forget", "jobs": {}, "reason": "why" }), "act"),
        (json!({ "act": "retry", "jobs": { "colour": "red" }, "reason": "why" }), "colour"),
        (json!({ "act": "retry", "jobs": {}, "per_second": 0, "reason": "why" }), "per_second"),
    ] {
        let refused = act(api, "/ops/bulk-acts", &body).await?;
        assert_eq!(refused.status, 422, "{body}: {}", refused.text());
        assert!(refused.text().contains(field), "{body}: {}", refused.text());
    }
    let unnamed = api.post("/ops/bulk-acts", &json!({ "act": "retry", "jobs": {}, "reason": "why" })).await?;
    unnamed.refused(422, "VALIDATION_FAILED");
    let none = "/ops/bulk-acts/01a22211-7394-7703-9164-d7cb142a319a";
    api.get(none).await?.refused(404, "BULK_ACT_NOT_FOUND");
    api.get("/ops/bulk-acts/x").await?.refused(404, "BULK_ACT_NOT_FOUND");
    act(api, &format!("{none}/cancel"), &json!({ "reason": "why" })).await?.refused(404, "BULK_ACT_NOT_FOUND");
    api.get("/ops/bulk-acts?limit=0").await?.refused(422, "VALIDATION_FAILED");
    assert_eq!(books::count(&system.database.pool, "select count(*) from messaging.bulk_acts").await?, 0);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_investigation_has_a_name_that_others_see() -> Result<()> {
    let system = System::start(|_| {}).await?;
    let ids = dead_mails(&system, 2).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let unknown = Uuid::nil();
    let body = json!({ "event_ids": [ids[0], unknown], "reason": "why" });
    act(api, "/ops/investigations", &body).await?.refused(404, "EVENT_NOT_FOUND");
    assert_eq!(books::count(pool, "select count(*) from messaging.investigations").await?, 0, "nothing of it is done");
    act(api, "/ops/investigations", &json!({ "event_ids": [], "reason": "why" }))
        .await?
        .refused(422, "VALIDATION_FAILED");

    let body = json!({ "event_ids": [ids[0]], "reason": "asks the mail provider" });
    assert_eq!(act(api, "/ops/investigations", &body).await?.expect(200).json()["rows_changed"], 1);
    let stuck = api.get("/ops/stuck").await?.expect(200).json();
    let seen = &stuck["investigations"];
    assert_eq!(seen.as_array().map(Vec::len), Some(1), "{seen}");
    assert_eq!((&seen[0]["event_id"], &seen[0]["actor"]), (&json!(ids[0]), &json!("anita")));
    let id = ids[0].to_string();
    let taken = ops(&system.database, &["investigate", &id, "--actor", "ravi", "--reason", "I know it"]).await?;
    taken.exited(0);
    let shown = api.get(&format!("/ops/events/{id}")).await?.expect(200).json();
    assert_eq!(shown["investigations"][0]["actor"], "ravi");
    let table = ops(&system.database, &["stuck"]).await?.exited(0).out;
    assert!(table.contains("looks into") && table.contains("ravi"), "{table}");
    let closed =
        ops(&system.database, &["investigate", &id, "--close", "--actor", "ravi", "--reason", "mended"]).await?;
    closed.exited(0);
    let shown = api.get(&format!("/ops/events/{id}")).await?.expect(200).json();
    assert_eq!(shown["investigations"], json!([]));
    let log: Vec<String> =
        sqlx::query_scalar("select action || ' ' || actor from messaging.operator_actions order by id")
            .fetch_all(pool)
            .await?;
    assert_eq!(log, ["INVESTIGATE anita", "INVESTIGATE ravi", "CLOSE_INVESTIGATION ravi"]);
    system.finish().await
}
