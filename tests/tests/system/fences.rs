//! A worker or relay that was replaced without noticing can do nothing. An event that arrives twice is handled once.

use std::time::Duration;

use anyhow::Result;
use contracts::{OrderState, Queue};
use messaging::inbox;
use messaging::worker::{Completed, Failure};
use serde_json::json;
use standalone::Part;
use tests::events::event;
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, eventually, shop};

const QUEUE: Queue = Queue::Notifications;

#[tokio::test]
async fn a_worker_that_slept_past_its_lease_completes_nothing() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    inbox::insert(&pool, QUEUE, &[event()]).await?;
    let claimed = inbox::claim(&pool, QUEUE, "sleeper", 1, Duration::ZERO).await?;
    assert_eq!(inbox::reclaim_expired(&pool, QUEUE).await?, 1, "its lease has expired");
    let taken_over = inbox::claim(&pool, QUEUE, "successor", 1, SOON).await?;
    assert!(taken_over[0].in_doubt, "the sleeper may have had its effect");

    let mut effect = pool.begin().await?;
    let late = Completed::mark(&mut effect, &claimed[0], &json!({})).await;
    assert!(matches!(late, Err(Failure::LeaseLost)), "{late:?}");
    effect.rollback().await?;
    assert!(!inbox::extend_lease(&pool, &claimed[0], SOON).await?, "nor can it have its lease back");

    let mut effect = pool.begin().await?;
    Completed::mark(&mut effect, &taken_over[0], &json!({})).await?;
    effect.commit().await?;
    Ok(())
}

#[tokio::test]
async fn an_event_that_comes_twice_is_one_job() -> Result<()> {
    let database = Database::new().await?;
    let pool = database.pool_as("articurated_workers").await?;
    let (event, other) = (event(), event());
    assert_eq!(inbox::insert(&pool, QUEUE, std::slice::from_ref(&event)).await?, 1);
    assert_eq!(inbox::insert(&pool, QUEUE, &[event.clone(), other]).await?, 1, "only the other is new");
    for job in inbox::claim(&pool, QUEUE, "worker", 10, SOON).await? {
        Completed::mark(&mut *pool.acquire().await?, &job, &json!({})).await?;
    }
    // A replay, long after it was done.
    assert_eq!(inbox::insert(&pool, QUEUE, &[event]).await?, 0);
    assert!(inbox::claim(&pool, QUEUE, "worker", 10, SOON).await?.is_empty(), "a done job is not claimed again");
    Ok(())
}

/// The broker has confirmed, and before the relay can mark the event another relay owns its shard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_has_lost_its_shards_marks_nothing() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let published = async || books::published(pool).await;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    eventually_equal("the relay is at work", SOON, 1, published).await?;

    let mut takeover = pool.begin().await?;
    sqlx::query("update messaging.shard_leases set owner = 'successor', epoch = epoch + 1, expires_at = 'infinity'")
        .execute(&mut *takeover)
        .await?;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let marking = async || books::marking(pool).await;
    eventually("the relay is about to mark", SOON, async || Ok((marking().await? > 0).then_some(()))).await?;
    takeover.commit().await?;
    eventually_equal("the relay has tried to mark", SOON, 0, marking).await?;
    assert_eq!(published().await?, 1, "only the successor may mark this event");

    sqlx::query("update messaging.shard_leases set owner = null, expires_at = '-infinity'").execute(pool).await?;
    eventually_equal("the next owner publishes it", SOON, 2, published).await?;
    system.finish().await
}
