//! A relay that freezes or dies is replaced, and does no harm when it wakes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::{DateTime, Utc};
use embedded::child::{Child, Signal, bound_to_parent};
use sqlx::PgPool;
use standalone::Part;
use tests::events::send_all_to_one_queue;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, eventually, programs, shop};

/// The promise: a lease that expires, and one renewal of the successor, take less than 10 s; the rest is for a busy machine.
const REPLACED_WITHIN: Duration = Duration::from_secs(10 + 5);

async fn held_by_others(pool: &PgPool, name: &str) -> Result<i64> {
    let held = "select count(*) from messaging.held_shards where consumer = 'relay' and owner <> $1";
    Ok(sqlx::query_scalar(held).bind(name).fetch_one(pool).await?)
}

/// The real program, and the name under which it holds every shard.
async fn relay_process(system: &System) -> Result<(Child, String)> {
    let folder = tokio::task::spawn_blocking(programs::folder).await?;
    let mut command = bound_to_parent(Signal::SIGKILL, folder.join("outbox-relay"));
    command.env("DATABASE_URL", &system.database.url).env("RELAY_PORT", embedded::free_port()?.to_string());
    command.env_remove("RABBITMQ_URL").stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::spawn("outbox-relay", command)?;
    let pool = &system.database.pool;
    eventually_equal("the relay leases every shard", SOON, 16, async || held_by_others(pool, "").await).await?;
    let owner = "select distinct owner from messaging.shard_leases where consumer = 'relay'";
    let name = sqlx::query_scalar(owner).fetch_one(pool).await?;
    Ok((child, name))
}

/// Every batch reads the leases. Under a snapshot each version of a row stays, so a renewal must not write them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_leaves_the_shards_as_they_are() -> Result<()> {
    let system = System::start(|options| options.parts = vec![Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let held = "select count(*) from messaging.held_shards where consumer = 'relay'";
    eventually_equal("the relay leases every shard", SOON, 16, async || books::count(pool, held).await).await?;
    let versions = "select array_agg(xmin::text order by consumer, shard) from messaging.shard_leases";
    let before: Vec<String> = sqlx::query_scalar(versions).fetch_one(pool).await?;
    let ends = "select expires_at from messaging.readers where consumer = 'relay'";
    for renewal in 1..=2 {
        let last: DateTime<Utc> = sqlx::query_scalar(ends).fetch_one(pool).await?;
        eventually(&format!("renewal {renewal}"), SOON, async || {
            let now: DateTime<Utc> = sqlx::query_scalar(ends).fetch_one(pool).await?;
            Ok((now > last).then_some(()))
        })
        .await?;
    }
    shop::sell(&system.api, 3).await?;
    books::delivered(pool, SOON).await?;
    let after: Vec<String> = sqlx::query_scalar(versions).fetch_one(pool).await?;
    assert_eq!(before, after);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_relay_is_replaced_in_time_and_finds_that_when_it_wakes() -> Result<()> {
    let system = System::commands_only().await?;
    let pool = &system.database.pool;
    send_all_to_one_queue(pool).await?;
    let (frozen, name) = relay_process(&system).await?;
    shop::sell(&system.api, 20).await?;
    books::delivered(pool, SOON).await?;

    frozen.signal(Signal::SIGSTOP);
    let since = Instant::now();
    shop::sell(&system.api, 20).await?;
    let successor = system.another_relay("successor").await?;
    eventually_equal("another relay leases every shard", REPLACED_WITHIN, 16, async || {
        held_by_others(pool, &name).await
    })
    .await?;
    eprintln!("a frozen relay was replaced after {:.1?}", since.elapsed());
    books::delivered(pool, SOON).await?;

    frozen.signal(Signal::SIGCONT);
    shop::sell(&system.api, 20).await?;
    let both = "select count(distinct owner) from messaging.held_shards";
    eventually_equal("both relays lease shards", SOON, 2, async || books::count(pool, both).await).await?;
    shop::sell(&system.api, 20).await?;
    books::delivered(pool, SOON).await?;
    let again = books::published_again(pool).await?;
    assert_eq!((again, books::out_of_order(pool).await?), (0, 0), "each went out once, in its order");

    // A relay that is killed still holds its leases.
    frozen.signal(Signal::SIGKILL);
    let since = Instant::now();
    shop::sell(&system.api, 20).await?;
    eventually_equal("another relay leases every shard", REPLACED_WITHIN, 16, async || {
        held_by_others(pool, &name).await
    })
    .await?;
    eprintln!("a killed relay was replaced after {:.1?}", since.elapsed());
    books::delivered(pool, SOON).await?;
    assert_eq!(books::out_of_order(pool).await?, 0);
    successor.drain(SOON).await?;
    system.finish().await
}
