//! Reading, skipping, releasing, retrying, pausing; and the record of it.

use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{OrderState, Queue, RefundStatus, ReturnState};
use messaging::inbox;
use operations::read::stuck::PATIENCE;
use runtime::Ids;
use serde_json::{Value, json};
use standalone::{Options, Part};
use tests::books::{count, published};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, eventually, shop};
use uuid::Uuid;

use super::{act, execute, ops, untold_order};

/// The second event of an order has a type that this release does not know, and has waited for another release for an hour. No
/// projector runs: it could not read the event.
async fn blocked_order() -> Result<(System, Vec<Uuid>)> {
    let (database, events) = untold_order().await?;
    let unknown = "update messaging.outbox set event_type = 'order.eaten' where aggregate_version = 2;
        insert into messaging.outbox_exceptions
            (event_id, position, shard, aggregate_id, aggregate_version, status, next_attempt_at, created_at)
        select event_id, position, shard, aggregate_id, aggregate_version, 'WAITING', now(), now() - interval '1 hour'
        from messaging.outbox where aggregate_version = 2";
    execute(&database.pool, unknown).await?;
    let parts = vec![Part::Command, Part::Relay, Part::Operations];
    Ok((System::start_on(database, |options| options.parts = parts).await?, events))
}

async fn stuck_event(system: &System) -> Result<Value> {
    eventually("the event is shown as stuck", PATIENCE, async || {
        let stuck = system.api.get("/ops/stuck").await?.expect(200).json();
        Ok(stuck["events"].get(0).filter(|event| event["reason"] == "UNROUTABLE").cloned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stuck_is_seen_and_explained_and_skipped() -> Result<()> {
    let (system, events) = blocked_order().await?;
    let (first, stuck) = (events[0], events[1]);
    let seen = stuck_event(&system).await?;
    assert_eq!((&seen["event_id"], &seen["behind"]), (&json!(stuck), &json!(1)));

    let (database, id) = (&system.database, stuck.to_string());
    let table = ops(database, &["stuck"]).await?.exited(0).out;
    assert!(table.contains(&id) && table.contains("UNROUTABLE"), "{table}");
    let status = ops(database, &["status", "--json"]).await?.exited(0).json();
    assert_eq!((&status["outbox"]["parked"], &status["outbox"]["pending"]), (&json!(1), &json!(1)), "{status}");
    assert_eq!(status["relays"][0]["shards"].as_array().map(Vec::len), Some(16), "{status}");
    let shown = ops(database, &["show", &id, "--json"]).await?.exited(0).json();
    assert_eq!(shown["events"][0]["parked_reason"], "UNROUTABLE");
    assert_eq!(shown["events"][0]["payload"]["snapshot"]["state"], "PAID");
    let order = shown["events"][0]["aggregate_id"].as_str().context("an order")?;
    let whole = ops(database, &["show", order, "--json"]).await?.exited(0).json();
    assert_eq!(whole["events"].as_array().map(Vec::len), Some(3));
    assert_eq!(whole["events"][0]["jobs"].as_array().map(Vec::len), Some(1), "the notifications have it");
    let diagnosis = ops(database, &["doctor"]).await?.exited(1).out;
    assert!(diagnosis.contains("is blocked by order.eaten") && diagnosis.contains("events waiting: 1"), "{diagnosis}");

    let api = &system.api;
    let skip = |id: Uuid| format!("/ops/events/{id}/skip");
    let why = json!({ "reason": "orders are not eaten" });
    api.post(&skip(stuck), &why).await?.refused(422, "VALIDATION_FAILED");
    act(api, &skip(stuck), &json!({})).await?.refused(422, "VALIDATION_FAILED");
    act(api, &skip(stuck), &json!({ "reason": " " })).await?.refused(422, "VALIDATION_FAILED");
    act(api, &skip(first), &why).await?.refused(409, "EVENT_NOT_SKIPPABLE");
    act(api, &skip(Uuid::nil()), &why).await?.refused(404, "EVENT_NOT_FOUND");
    act(api, "/ops/events/seven/skip", &why).await?.refused(404, "EVENT_NOT_FOUND");
    let refused = ops(database, &["skip", &Uuid::nil().to_string(), "--reason", "why not"]).await?.exited(1);
    assert!(refused.err.starts_with("error: no event has the id 00000000"), "{}", refused.err);

    assert_eq!(act(api, &skip(stuck), &why).await?.expect(200).json()["rows_changed"], 1);
    act(api, &skip(stuck), &why).await?.refused(409, "EVENT_NOT_SKIPPABLE");
    eventually_equal("the order goes on", SOON, 2, async || published(&system.database.pool).await).await?;
    // No worker consumes the notifications here.
    let nothing = ops(database, &["stuck", "--older-than", "3600"]).await?.exited(0).out;
    assert_eq!(nothing.trim(), "nothing is stuck");

    let actions = api.get("/ops/actions").await?.expect(200).json();
    let [only] = actions["data"].as_array().context("actions")?.as_slice() else { panic!("one action: {actions}") };
    assert_eq!((&only["action"], &only["actor"], &only["source"]), (&json!("SKIP"), &json!("anita"), &json!("REST")));
    assert_eq!((&only["reason"], &only["rows_changed"]), (&json!("orders are not eaten"), &json!(1)));
    assert!(only["request_id"].is_string(), "{only}");
    let printed = ops(database, &["actions", "--json"]).await?.exited(0).json();
    assert_eq!(printed, actions, "the command line and the API answer the same");
    let shown = api.get(&format!("/ops/events/{stuck}")).await?.expect(200).json();
    assert_eq!(shown["actions"][0]["action"], "SKIP", "{shown}");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_outlives_a_restart() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let why = json!({ "reason": "the shelves are being counted" });
    act(&system.api, "/ops/queues/shelves/pause", &why).await?.refused(404, "QUEUE_NOT_FOUND");
    let pause =
        async |system: &System| Ok::<_, anyhow::Error>(act(&system.api, "/ops/queues/projections/pause", &why).await?);
    assert_eq!(pause(&system).await?.expect(200).json()["rows_changed"], 1);
    assert_eq!(pause(&system).await?.expect(200).json()["rows_changed"], 0, "the queue is paused already");
    let system = System::start_on(system.stop().await?, |options| options.query.consistency_wait_ms = 1_000).await?;

    let order = shop::order_in(&system.api, OrderState::Paid).await?.id;
    let (path, token) = (format!("/orders/{order}"), system.token("order", order, 2).await?);
    system.api.read(&path, &token).await?.refused(503, "READ_MODEL_BEHIND");
    let status = ops(&system.database, &["status"]).await?.exited(0).out;
    assert!(status.contains("by anita: the shelves are being counted"), "{status}");
    let shown = count(&system.database.pool, "select count(*) from read.history").await?;
    assert_eq!(shown, 0, "the projector applies no event");
    let diagnosis = system.api.get("/ops/doctor").await?.expect(200).json();
    let findings = diagnosis["findings"].as_array().context("findings")?;
    let paused = findings.iter().find(|finding| finding["code"] == "QUEUE_PAUSED").context("the pause is found")?;
    assert_eq!(paused["severity"], "warning", "a pause is meant, so it is no problem");

    ops(&system.database, &["resume", "projections", "--reason", "all counted"]).await?.exited(0);
    eventually("the projector goes on", SOON, async || {
        Ok((system.api.read(&path, &token).await?.status == 200).then_some(()))
    })
    .await?;
    let actions: Vec<(String, String, String)> =
        sqlx::query_as("select action, source, actor from messaging.operator_actions order by id")
            .fetch_all(&system.database.pool)
            .await?;
    let actions: Vec<_> =
        actions.iter().map(|(action, source, actor)| [action, source, actor].map(String::as_str)).collect();
    assert_eq!(actions, [["PAUSE", "REST", "anita"], ["PAUSE", "REST", "anita"], ["RESUME", "CLI", "anita"]]);
    system.finish().await
}

/// Every part but the browser, and a gateway that answers every call with this fault.
fn refunds(faults: &str, retry: Duration) -> impl FnOnce(&mut Options) {
    let faults = faults.parse();
    move |options| {
        options.parts = Part::ALL.to_vec();
        options.workers.pdf.chromium_path = Some("/there/is/no/browser".into());
        options.workers.retries.refund_retry = retry;
        options.gateway.gateway_faults = faults.expect("a fault");
    }
}

async fn refund_job(database: &Database) -> Result<(Uuid, String, i32)> {
    let job = "select event_id, status, attempts from messaging.inbox where queue = 'refunds'";
    eventually("the refund has its job", SOON, async || Ok(sqlx::query_as(job).fetch_optional(&database.pool).await?))
        .await
}

/// The gateway knows another payment under the key of a return. That needs a person.
async fn pay_something_else(system: &System, returned: Uuid) -> Result<()> {
    let other = json!({ "return_id": returned, "amount": 1, "currency": "INR" });
    system.gateway.post("/refund", &other).await?.expect(200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_refund_is_retried_and_paid_once() -> Result<()> {
    let system = System::start(refunds("", Duration::from_millis(20))).await?;
    let returned = shop::return_in(&system.api, ReturnState::Received).await?;
    pay_something_else(&system, returned.id).await?;
    shop::return_step(&system.api, returned.id, "complete").await?.expect(200);
    let dead = eventually("the refund is dead", SOON, async || {
        let (id, status, _) = refund_job(&system.database).await?;
        Ok((status == "dead").then_some(id))
    })
    .await?;
    let listed = ops(&system.database, &["jobs", "--queue", "refunds"]).await?.exited(0).out;
    assert!(listed.contains(&dead.to_string()) && listed.contains("the gateway's refund"), "{listed}");
    // A new gateway, which knows nothing of the other payment.
    let database = system.stop().await?;

    let system = System::start_on(database, refunds("", Duration::from_millis(20))).await?;
    let retry = async |body: &Value| act(&system.api, "/ops/jobs/retry", body).await;
    let id = dead.to_string();
    retry(&json!({ "reason": "the gateway is mended" })).await?.refused(422, "VALIDATION_FAILED");
    retry(&json!({ "reason": "no", "event_ids": [Uuid::nil()] })).await?.refused(404, "JOB_NOT_FOUND");
    retry(&json!({ "reason": "no", "event_ids": [id], "queue": "invoices" })).await?.refused(404, "JOB_NOT_FOUND");
    let retried = retry(&json!({ "reason": "the gateway is mended", "event_ids": [id] })).await?.expect(200).json();
    assert_eq!(retried["rows_changed"], 1);
    eventually("the return is refunded", SOON, async || {
        let paid: Option<i64> =
            sqlx::query_scalar("select count(*) from command.refunds where status = $1 having count(*) = 1")
                .bind(RefundStatus::Processed.as_str())
                .fetch_optional(&system.database.pool)
                .await?;
        Ok(paid)
    })
    .await?;
    retry(&json!({ "reason": "again", "event_ids": [id] })).await?.refused(409, "JOB_NOT_DEAD");
    assert_eq!(system.gateway.get("/refunds").await?.expect(200).json()["count"], 1);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_ended_without_changing_what_has_happened() -> Result<()> {
    let hours = Duration::from_secs(100 * 3_600);
    let system = System::start(refunds("garbage", hours)).await?;
    shop::return_in(&system.api, ReturnState::Completed).await?;
    let event_id = eventually("the refund waits", SOON, async || {
        let (id, status, attempts) = refund_job(&system.database).await?;
        Ok((status == "in_doubt" && attempts == 1).then_some(id))
    })
    .await?;
    let release = async |body: &Value| act(&system.api, &format!("/ops/events/{event_id}/release"), body).await;
    release(&json!({ "reason": "no", "queue": "invoices" })).await?.refused(409, "NOTHING_TO_RELEASE");
    release(&json!({ "reason": "no", "queue": "shelves" })).await?.refused(422, "VALIDATION_FAILED");
    release(&json!({ "reason": "the gateway is up", "queue": "refunds" })).await?.expect(200);
    eventually_equal("the refund is tried again", SOON, 2, async || Ok(refund_job(&system.database).await?.2)).await?;

    // As if its worker had gone silent just after it took the job.
    let ghost = Ids::system().next();
    let run = "with worker as (
                   insert into messaging.workers values ('refunds', 'ghost', clock_timestamp() + interval '1 hour', $1)
                   on conflict do nothing
               ), claim as (
                   insert into messaging.claims values ($1, 'refunds', 'ghost', array[$2]) on conflict do nothing
               )
               update messaging.inbox set status = 'running', claim_id = $1 where queue = 'refunds' and status = 'in_doubt'";
    eventually_equal("the refund waits again", SOON, 1, async || {
        Ok(sqlx::query(run).bind(ghost).bind(event_id).execute(&system.database.pool).await?.rows_affected())
    })
    .await?;
    ops(&system.database, &["release", &event_id.to_string(), "--reason", "it hangs"]).await?.exited(0);
    eventually_equal("another worker takes it", SOON, 3, async || Ok(refund_job(&system.database).await?.2)).await?;
    let mut conn = system.database.pool.acquire().await?;
    let late = inbox::complete(&mut conn, Queue::Refunds, &[(event_id, ghost)], &[&json!({})]).await?;
    assert!(late.is_empty(), "the silent worker cannot complete it any more");
    drop(conn);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_in_back_off_is_released_and_a_parked_one_is_not() -> Result<()> {
    let (database, events) = untold_order().await?;
    let failed = "insert into messaging.outbox_exceptions
                      (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error, next_attempt_at)
                  select event_id, position, shard, aggregate_id, 1, 'WAITING', 1, 'no', clock_timestamp() + interval '1 hour'
                  from messaging.outbox where aggregate_version = 1";
    execute(&database.pool, failed).await?;
    let system = System::start_on(database, |_| ()).await?;
    let release =
        async |id: Uuid| act(&system.api, &format!("/ops/events/{id}/release"), &json!({ "reason": "now" })).await;
    let stuck = system.api.get("/ops/stuck").await?.expect(200).json();
    assert_eq!((&stuck["events"][0]["reason"], &stuck["events"][0]["behind"]), (&json!("BACK_OFF"), &json!(2)));
    release(events[1]).await?.refused(409, "NOTHING_TO_RELEASE");
    release(Uuid::nil()).await?.refused(404, "EVENT_NOT_FOUND");
    release(events[0]).await?.expect(200);
    eventually_equal("every event is published", SOON, 3, async || published(&system.database.pool).await).await?;
    system.finish().await?;

    let (system, events) = blocked_order().await?;
    stuck_event(&system).await?;
    let refused = ops(&system.database, &["release", &events[1].to_string(), "--reason", "now"]).await?.exited(1);
    assert!(refused.err.contains("it is parked (UNROUTABLE); replay it or skip it"), "{}", refused.err);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_even_the_owner_changes_the_record() -> Result<()> {
    let database = Database::new().await?;
    ops(&database, &["pause", "invoices", "--reason", "to have a record"]).await?.exited(0);
    for role in [None, Some("articurated_operator"), Some("articurated_relay")] {
        let mut connection = database.connect(role).await?;
        for statement in [
            "update messaging.operator_actions set actor = 'mallory'",
            "delete from messaging.operator_actions",
            "truncate messaging.operator_actions",
        ] {
            let refused = sqlx::raw_sql(statement).execute(&mut connection).await.expect_err(statement);
            let code = refused.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
            assert_eq!(code.as_deref(), Some("42501"), "{role:?}: {statement}");
        }
    }
    let kept = count(&database.pool, "select count(*) from messaging.operator_actions where actor = 'anita'").await?;
    assert_eq!(kept, 1);
    Ok(())
}
