//! Commands that wait behind a statement that cannot go on: they are executed in time, for a client that waits, or never.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{PgPool, Postgres, Transaction};
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, shop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const DEADLINE: Duration = Duration::from_secs(1);

/// A service with one batcher for each kind of command.
async fn start() -> Result<System> {
    System::start(|options| {
        options.parts = vec![Part::Command];
        options.command.command_batchers = 1;
        options.command.command_deadline = DEADLINE;
    })
    .await
}

/// Locks the orders, and places one: its batch waits for the lock.
async fn stuck(system: &System) -> Result<(Transaction<'static, Postgres>, JoinHandle<Result<tests::Answer>>)> {
    let mut lock = system.database.pool.begin().await?;
    sqlx::query("lock table command.orders in exclusive mode").execute(&mut *lock).await?;
    let api = system.api.clone();
    let placing = tokio::spawn(async move { api.post("/orders", &shop::order()).await });
    wait_for_lock(&system.database.pool).await?;
    Ok((lock, placing))
}

async fn wait_for_lock(pool: &PgPool) -> Result<()> {
    eventually_equal("a batch waits for the lock", SOON, 1, async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and application_name = 'command' and wait_event_type = 'Lock'";
        books::count(pool, waiting).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waited_for_too_long_is_refused_and_never_executed() -> Result<()> {
    let system = start().await?;
    let (lock, placing) = stuck(&system).await?;
    let late = system.api.post("/orders", &shop::order()).await?;
    late.refused(503, "COMMAND_NOT_STARTED");
    assert_eq!(late.header("retry-after"), "1");
    assert!(!placing.is_finished(), "the first is being executed, so its outcome is waited for");

    lock.rollback().await?;
    placing.await??.expect(201);
    shop::place(&system.api, &shop::order()).await?;
    assert_eq!(books::row_counts(&system.database.pool).await?["command.orders"], 2);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_client_has_gone_before_its_turn_is_never_executed() -> Result<()> {
    let system = System::start(|options| {
        options.parts = vec![Part::Command];
        options.command.command_batchers = 1;
    })
    .await?;
    let (lock, placing) = stuck(&system).await?;
    let address = system.base_url().strip_prefix("http://").context("an address")?;
    let body = shop::order().to_string();
    let head = "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut client = TcpStream::connect(address).await?;
    client.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    client.shutdown().await?;
    // The service closes its side once it has given the request up.
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await?;
    assert_eq!(String::from_utf8_lossy(&answer), "");

    lock.rollback().await?;
    placing.await??.expect(201);
    shop::place(&system.api, &shop::order()).await?;
    assert_eq!(books::row_counts(&system.database.pool).await?["command.orders"], 2);
    system.finish().await
}
