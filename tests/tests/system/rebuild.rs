//! Rebuilds of the read models: equal row by row, during live traffic, and after retention has dropped events.

use anyhow::Result;
use contracts::{Envelope, OrderState, ReturnState};
use messaging::leases::Consumer;
use messaging::log::{self, Payload};
use messaging::snapshots::Republisher;
use query::{Lost, OnLoss, RebuildError};
use runtime::{Clock, Ids};
use serde_json::json;
use sqlx::PgPool;
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, events, shop};
use uuid::Uuid;

async fn rebuild(system: &System) -> Result<query::Rebuilt, RebuildError> {
    let pool = system.database.pool_as("articurated_query").await.expect("a pool");
    query::rebuild(pool, None, Ids::system().next(), OnLoss::Fail).await
}

async fn republisher(system: &System, role: &'static str) -> Result<Republisher> {
    let pool = system.database.pool_as(role).await?;
    Ok(Republisher { pool, clock: Clock::system(), ids: Ids::system(), per_second: 100_000 })
}

/// A system with rows in every read model.
async fn something_of_everything() -> Result<System> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.command.supplier_gstin = command::Gstin::parse("29AAHCM7727Q1ZI").ok();
    })
    .await?;
    for state in OrderState::ALL {
        shop::order_in(&system.api, state).await?;
    }
    for state in [ReturnState::Requested, ReturnState::Rejected, ReturnState::Completed] {
        shop::return_in(&system.api, state).await?;
    }
    books::settled(&system.database.pool).await?;
    Ok(system)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_equals_the_read_models_row_by_row() -> Result<()> {
    let system = something_of_everything().await?;
    let pool = &system.database.pool;
    let before = books::read_models(pool).await?;
    assert!(before.values().all(|rows| !rows.is_empty()), "every table has rows: {before:?}");
    let events = books::count(pool, "select count(*) from messaging.outbox").await?;
    let rebuilt = rebuild(&system).await?;
    assert_eq!((i64::try_from(rebuilt.events)?, rebuilt.unreadable), (events, 0));
    assert_eq!(books::read_models(pool).await?, before);

    // A rebuild repairs damaged rows.
    sqlx::query("update read.orders set state = 'PAID'").execute(pool).await?;
    sqlx::query("update read.order_facts set total_minor = total_minor + 1").execute(pool).await?;
    rebuild(&system).await?;
    assert_eq!(books::read_models(pool).await?, before);
    system.finish().await
}

/// A page of the log may hold orders of many lines, of which a thousand need more memory than a process has.
#[tokio::test]
async fn events_are_fetched_in_parts_of_limited_size() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_query").await?;
    let large: Vec<_> = (1..=5).map(large).collect();
    for event in &large {
        events::append(&mut *database.pool.acquire().await?, event).await?;
    }
    let mut ids: Vec<Uuid> = large.iter().map(|event| event.event_id).collect();
    let stored: i64 =
        sqlx::query_scalar("select max(stored_bytes)::int8 from messaging.events").fetch_one(&pool).await?;
    for (limit, parts) in [(1, vec![1, 1, 1, 1, 1]), (stored * 5 / 2, vec![3, 2]), (i64::MAX, vec![5])] {
        let (mut rest, mut sizes) = (ids.clone(), Vec::new());
        while !rest.is_empty() {
            let part = log::events(&pool, &rest, Payload::Whole, limit).await?;
            let fetched: Vec<Uuid> = part.iter().map(|job| job.event_id).collect();
            assert_eq!(fetched, rest[..part.len()], "in the order of the ids, and none left out");
            sizes.push(part.len());
            rest.drain(..part.len());
        }
        assert_eq!(sizes, parts, "{limit} bytes");
    }
    ids.push(Ids::system().next());
    let found = log::events(&pool, &ids, Payload::Whole, i64::MAX).await?;
    assert_eq!(found.len(), 5, "retention has dropped the sixth");
    Ok(())
}

/// An event of some 20 kB. Two have almost the same size.
fn large(version: i32) -> Envelope {
    let filling: String = (0..20_000).map(|n| char::from(b'a' + u8::try_from(n * n % 23).unwrap_or(0))).collect();
    let payload = serde_json::value::to_raw_value(&json!({ "filling": filling })).expect("JSON");
    Envelope { aggregate_version: version, payload, ..events::event() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_includes_events_that_happen_during_it() -> Result<()> {
    let system = System::start(|_| ()).await?;
    shop::sell(&system.api, 100).await?;
    let pool = &system.database.pool;
    for _ in 0..3 {
        let (sold, rebuilt) = tokio::join!(shop::sell(&system.api, 60), rebuild(&system));
        sold?;
        rebuilt?;
    }
    books::projected(pool, SOON).await?;
    let live = books::read_models(pool).await?;
    assert_eq!(live["orders"].len(), 280);
    rebuild(&system).await?;
    assert_eq!(books::read_models(pool).await?, live);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_retention_has_dropped_are_republished() -> Result<()> {
    let system = something_of_everything().await?;
    let pool = &system.database.pool;
    let before = books::read_models(pool).await?;
    forget_all_events(pool).await?;
    let forgotten = rebuild(&system).await.expect_err("the events are gone");
    assert!(forgotten.to_string().contains("`command snapshots`"), "{forgotten}");
    assert_eq!(books::read_models(pool).await?, before, "the read models are unchanged");

    command::republish(&republisher(&system, "articurated_command").await?).await?;
    let forgotten = rebuild(&system).await.expect_err("half of it is gone");
    assert!(forgotten.to_string().contains("`workers snapshots`"), "{forgotten}");
    workers::republish::republish(&republisher(&system, "articurated_workers").await?).await?;

    rebuild(&system).await?;
    assert_eq!(books::read_models(pool).await?, before);
    // The projector applies the snapshots like all events. They change nothing where nothing was lost.
    books::passed(pool, Consumer::Projections, SOON).await?;
    assert_eq!(books::read_models(pool).await?, before);
    // `abandon`, because the audit would compare with the times of the dropped events.
    system.abandon().await
}

/// Moves all events to a day long ago, and drops that day as retention does.
async fn forget_all_events(pool: &PgPool) -> Result<()> {
    let make = "select messaging.ensure_partitions(interval '20 days', interval '0', interval '1 day')";
    sqlx::query(make).execute(pool).await?;
    // The time of a `UUIDv7` is its first 48 bits.
    for table in ["messaging.outbox", "messaging.inbox"] {
        let aged = format!(
            "update {table} set event_id = (left(messaging.lowest_event_id(now() - interval '15 days')::text, 13)
                                            || right(event_id::text, 23))::uuid"
        );
        sqlx::query(sqlx::AssertSqlSafe(aged)).execute(pool).await?;
    }
    let old = "select name from messaging.partitions where until_at <= now() - interval '9 days'";
    for name in sqlx::query_scalar::<_, String>(old).fetch_all(pool).await? {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop table messaging.\"{name}\""))).execute(pool).await?;
    }
    sqlx::query("update messaging.retention set dropped_until = now() - interval '9 days'").execute(pool).await?;
    assert_eq!(books::count(pool, "select count(*) from messaging.outbox").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_would_lose_something_is_refused() -> Result<()> {
    let system = System::start(|_| ()).await?;
    shop::sell(&system.api, 3).await?;
    let pool = &system.database.pool;
    books::projected(pool, SOON).await?;
    sqlx::query("delete from messaging.outbox where aggregate_id = (select id from read.orders limit 1)")
        .execute(pool)
        .await?;
    let before = books::read_models(pool).await?;
    let refused = rebuild(&system).await.expect_err("an order is missing");
    let lost = Lost { documents: 1, entries: 4 };
    assert!(matches!(refused, RebuildError::Incomplete(found) if found == lost), "{refused}");
    assert_eq!(books::read_models(pool).await?, before);

    let forgetting = system.database.pool_as("articurated_query").await?;
    let rebuilt = query::rebuild(forgetting, None, Ids::system().next(), OnLoss::Forget).await?;
    assert_eq!(rebuilt.lost, lost);
    assert_eq!(books::read_models(pool).await?["orders"].len(), 2);

    // One rebuild at a time. After a killed one, the next starts once its lease has ended.
    sqlx::query("update read.rebuild set run = gen_random_uuid(), until = now() + interval '1 hour'")
        .execute(pool)
        .await?;
    assert!(matches!(rebuild(&system).await, Err(RebuildError::AlreadyRunning)));
    shop::sell(&system.api, 1).await?;
    eventually_equal("the projector writes both models during the rebuild", SOON, 1, async || {
        books::count(pool, "select count(*) from read_next.orders where state = 'SHIPPED' and version = 4").await
    })
    .await?;
    system.abandon().await
}

/// Event ids come from the clocks of several processes, so a later version may have a lower id. An undecodable event hides
/// no earlier one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_clocks_nor_unreadable_events_hide_a_document() -> Result<()> {
    let system = System::start(|_| ()).await?;
    shop::sell(&system.api, 2).await?;
    let pool = &system.database.pool;
    books::projected(pool, SOON).await?;
    let before = books::read_models(pool).await?;
    let mut ids: Vec<uuid::Uuid> = sqlx::query_scalar("select id from read.orders order by id").fetch_all(pool).await?;
    let (unreadable, mixed_up) = (ids.remove(0), ids.remove(0));
    // The order's second version has the highest id of its events.
    sqlx::query(
        "update messaging.outbox set event_id = (
             select overlay(newest.event_id::text placing 'fffffffffffe' from 25)::uuid
             from messaging.outbox as newest where newest.aggregate_id = $1 and newest.aggregate_version = 4)
         where aggregate_id = $1 and aggregate_version = 2",
    )
    .bind(mixed_up)
    .execute(pool)
    .await?;
    // The last event of the other order has an unknown type.
    sqlx::query(
        "insert into messaging.outbox (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type, payload,
                                       occurred_at)
         select overlay(event_id::text placing 'ffffffffffff' from 25)::uuid, aggregate_type, aggregate_id, 5, shard, 'order.eaten',
                payload, occurred_at
         from messaging.outbox where aggregate_id = $1 and aggregate_version = 4",
    )
    .bind(unreadable)
    .execute(pool)
    .await?;
    let rebuilt = rebuild(&system).await?;
    assert_eq!(rebuilt.unreadable, 1);
    assert_eq!(books::read_models(pool).await?, before);
    system.abandon().await
}
