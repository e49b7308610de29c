//! Replaying events.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use contracts::{OrderState, ReturnState};
use messaging::TransportConfig;
use serde_json::{Value, json};
use standalone::Part;
use tests::books::count;
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, shop};

use super::{act, execute, ops, untold_order};

/// Counts of all effects that must happen once.
async fn effects(system: &System) -> Result<BTreeMap<&'static str, i64>> {
    let mut effects = BTreeMap::new();
    for (what, query) in [
        ("events", "select count(*) from messaging.outbox"),
        ("jobs", "select count(*) from messaging.inbox"),
        ("attempts", "select sum(attempts) from messaging.inbox"),
        ("transitions", "select count(*) from command.state_transitions"),
        ("invoices", "select count(*) from work.invoices"),
        ("refunds", "select count(*) from command.refunds where status = 'PROCESSED'"),
        ("e-mails", "select count(*) from work.emails"),
        ("entries", "select count(*) from read.history"),
    ] {
        effects.insert(what, count(&system.database.pool, query).await?);
    }
    let ledger = system.gateway.get("/refunds").await?.expect(200).json();
    effects.insert("payments", ledger["count"].as_i64().context("a count")?);
    Ok(effects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaying_everything_changes_nothing_on_the_queue_in_postgres() -> Result<()> {
    everything_again(&TransportConfig::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaying_everything_changes_nothing_on_rabbitmq() -> Result<()> {
    let broker = Broker::new().await?;
    everything_again(&broker.transport()).await?;
    eventually_equal("everything is acknowledged", SOON, 0, async || broker.messages().await).await
}

async fn everything_again(transport: &TransportConfig) -> Result<()> {
    let system = System::start_via(transport, &Part::ALL).await?;
    shop::return_in(&system.api, ReturnState::Completed).await?;
    shop::return_in(&system.api, ReturnState::Approved).await?;
    books::settled(&system.database.pool).await?;
    let (before, pool) = (effects(&system).await?, &system.database.pool);

    let all = ["replay", "--from", "2020-01-01T00:00:00Z"];
    let preview = ops(&system.database, &[&all[..], &["--dry-run", "--json"]].concat()).await?.exited(0).json();
    assert_eq!(preview["events"], before["events"]);
    assert_eq!(count(pool, "select count(*) from messaging.operator_actions").await?, 0, "a dry run is not recorded");
    assert_eq!(books::published_again(pool).await?, 0, "and changes nothing");

    let replayed = ops(&system.database, &[&all[..], &["--json", "--reason", "to see"]].concat()).await?.exited(0);
    assert_eq!(replayed.json()["rows_changed"], before["events"]);
    eventually_equal("every event is published again", SOON, before["events"], async || {
        books::published_again(pool).await
    })
    .await?;
    books::settled(&system.database.pool).await?;
    let report = system.api.get("/ops/audit?drained=true").await?.expect(200).json();
    assert_eq!(report["verdict"], "holds", "{report:#}");
    assert_eq!(effects(&system).await?, before);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_event_is_replayed_and_the_events_it_blocked_follow() -> Result<()> {
    let (database, events) = untold_order().await?;
    let park = "insert into messaging.outbox_exceptions
                    (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error, parked_at, parked_reason)
                select event_id, position, shard, aggregate_id, 2, 'PARKED', 1, 'no route', now(), 'UNROUTABLE'
                from messaging.outbox where aggregate_version = 2";
    execute(&database.pool, park).await?;
    let system = System::start_on(database, |_| ()).await?;
    let pool = &system.database.pool;
    eventually_equal("the first goes out", SOON, 1, async || books::published(pool).await).await?;
    let preview = ops(&system.database, &["replay", "--parked", "--dry-run"]).await?.exited(0).out;
    assert!(preview.contains("UNROUTABLE") && preview.contains("events that would be replayed: 1"), "{preview}");
    let said = ops(&system.database, &["replay", "--parked", "--reason", "the route is back"]).await?.exited(0).out;
    assert_eq!(said.trim(), "events replayed: 1");
    eventually_equal("every event is published", SOON, 3, async || books::published(pool).await).await?;
    let order = "select aggregate_version from messaging.relay_batches
                 cross join unnest(positions) as position join messaging.outbox using (position)
                 order by confirmed_at, aggregate_version";
    let order: Vec<i32> = sqlx::query_scalar(order).fetch_all(pool).await?;
    assert_eq!(order, [1, 2, 3]);
    let (reason, target): (String, Value) =
        sqlx::query_as("select reason, target from messaging.operator_actions where action = 'REPLAY'")
            .fetch_one(pool)
            .await?;
    assert_eq!((reason.as_str(), &target["event_ids"]), ("the route is back", &json!([events[1]])));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_selects_exactly_its_events() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let pool = &system.database.pool;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;
    shop::order_in(&system.api, OrderState::Paid).await?;
    books::delivered(pool, SOON).await?;
    let (id, at): (uuid::Uuid, chrono::DateTime<chrono::Utc>) =
        sqlx::query_as("select event_id, occurred_at from messaging.outbox where event_type = 'order.shipped'")
            .fetch_one(pool)
            .await?;
    let skip =
        "insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
                select event_id, position, shard, aggregate_id, aggregate_version, 'SKIPPED'
                from messaging.outbox where event_type = 'order.delivered'";
    execute(pool, skip).await?;
    let skipped: uuid::Uuid =
        sqlx::query_scalar("select event_id from messaging.outbox where event_type = 'order.delivered'")
            .fetch_one(pool)
            .await?;

    let selected = async |selection: Value| {
        act(&system.api, "/ops/replay", &json!({ "selection": selection, "dry_run": true })).await
    };
    for (selection, events) in [
        (json!({ "ids": [id] }), 1),
        (json!({ "event_type": "order.paid" }), 2),
        (json!({ "event_type": "order.eaten" }), 0),
        (json!({ "aggregate_id": order.id }), 4),
        (json!({ "aggregate_id": order.id, "event_type": "order.paid" }), 1),
        (json!({ "parked": true }), 0),
        (json!({ "ids": [skipped] }), 1),
        (json!({ "from": at, "to": at + chrono::TimeDelta::microseconds(1) }), 1),
        (json!({ "to": "2020-01-01T00:00:00Z" }), 0),
    ] {
        let preview = selected(selection.clone()).await?.expect(200).json();
        assert_eq!(
            (&preview["selected"]["events"], &preview["rows_changed"]),
            (&json!(events), &json!(0)),
            "{selection}"
        );
    }
    for (selection, status, code) in [
        (json!({}), 422, "VALIDATION_FAILED"),
        (json!({ "from": at, "to": at }), 422, "VALIDATION_FAILED"),
        (json!({ "colour": "blue" }), 422, "VALIDATION_FAILED"),
        (json!({ "ids": [uuid::Uuid::nil()] }), 404, "EVENT_NOT_FOUND"),
    ] {
        selected(selection).await?.refused(status, code);
    }
    let unexplained = json!({ "selection": { "ids": [id] } });
    act(&system.api, "/ops/replay", &unexplained).await?.refused(422, "VALIDATION_FAILED");

    // Two per second, so the second batch has to wait.
    let started = std::time::Instant::now();
    let paced = ["replay", "--type", "order.paid", "--rate", "2/s", "--reason", "slowly"];
    ops(&system.database, &paced).await?.exited(0);
    assert!(started.elapsed() >= std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    let waiting = "select count(*) from messaging.outbox_exceptions where status <> 'SKIPPED'";
    eventually_equal("every event is published again", SOON, 0, async || count(pool, waiting).await).await?;
    assert_eq!(books::published_again(pool).await?, 2, "both of that type, and no other");
    system.finish().await
}
