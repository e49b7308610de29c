//! Which listeners a hint wakes, and which it does not.

use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use messaging::{Hint, Wakeup};
use runtime::{Ids, Tasks};
use sqlx::PgPool;
use tests::System;
use tests::waiting::SOON;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const NOT_SOON: Duration = Duration::from_hours(1);

async fn shard_of(pool: &PgPool, aggregate: Uuid) -> Result<i16> {
    Ok(sqlx::query_scalar("select messaging.shard_of($1)").bind(aggregate).fetch_one(pool).await?)
}

/// A listener whose connection is up.
async fn listener(pool: &PgPool, tasks: &Tasks) -> Result<Wakeup> {
    let mut wakeup = Wakeup::start(pool, "hints", tasks);
    timeout(SOON, wakeup.wait(NOT_SOON)).await?;
    Ok(wakeup)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_about_an_aggregate_wakes_only_listeners_of_its_shard() -> Result<()> {
    let system = System::commands_only().await?;
    let (pool, tasks) = (&system.database.pool, Tasks::new(CancellationToken::new()));
    let hint = Hint::start(pool, "hints", &tasks);
    let mut concerned = listener(pool, &tasks).await?;
    let mut other = concerned.clone();
    let aggregate = Ids::system().next();
    let its = shard_of(pool, aggregate).await?;

    hint.send_about([aggregate]);
    timeout(SOON, concerned.wait_for(|shard| shard == its, NOT_SOON)).await?;
    assert!(other.wait_for(|shard| shard != its, NOT_SOON).now_or_never().is_none(), "the hint was not for it");
    assert!(concerned.wait_for(|_| true, NOT_SOON).now_or_never().is_none(), "one hint wakes once");

    hint.send();
    timeout(SOON, other.wait_for(|shard| shard != its, NOT_SOON)).await?;
    timeout(SOON, concerned.wait_for(|shard| shard == its, NOT_SOON)).await?;
    tasks.drain(SOON).await
}

/// Hints that come while a notification is being sent go out with the next one, and the wider audience wins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_that_come_together_lose_none_of_their_shards() -> Result<()> {
    let system = System::commands_only().await?;
    let (pool, tasks) = (&system.database.pool, Tasks::new(CancellationToken::new()));
    let hint = Hint::start(pool, "hints", &tasks);
    let listening = listener(pool, &tasks).await?;
    let ids = Ids::system();
    let aggregates: Vec<Uuid> = (0..64).map(|_| ids.next()).collect();
    for aggregate in &aggregates {
        hint.send_about([*aggregate]);
    }
    for aggregate in &aggregates {
        let its = shard_of(pool, *aggregate).await?;
        timeout(SOON, listening.clone().wait_for(|shard| shard == its, NOT_SOON)).await?;
    }

    let fresh = listener(pool, &tasks).await?;
    hint.send_about([aggregates[0]]);
    hint.send();
    hint.send_about([aggregates[0]]);
    for of in 0..16 {
        timeout(SOON, fresh.clone().wait_for(|shard| shard == of, NOT_SOON)).await?;
    }
    tasks.drain(SOON).await
}
