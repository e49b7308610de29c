//! Clients that hang up: other clients lose nothing, and no transaction stays open.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use contracts::OrderState;
use futures_util::future::{join_all, try_join_all};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use runtime::config::DatabaseConfig;
use runtime::database;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use standalone::Part;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, shop};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

const ROUNDS: u32 = 300;

/// Sends a whole request and disconnects without waiting for the answer.
async fn hang_up(address: &str, path: &str, headers: &str, body: &Value, after: Duration) -> Result<()> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    tokio::time::sleep(after).await;
    Ok(())
}

/// The number of connections that are idle in a transaction.
async fn idle_in_transaction(pool: &PgPool) -> Result<i64> {
    let stuck = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'";
    books::count(pool, stuck).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_hang_up_take_nothing_from_those_that_stay() -> Result<()> {
    let system = System::start(|options| options.parts = vec![Part::Command, Part::Query]).await?;
    let address = system.base_url().trim_start_matches("http://").to_owned();
    let delivered = shop::order_in(&system.api, OrderState::Delivered).await?;
    let unpaid = try_join_all((0..20).map(|_| shop::order_in(&system.api, OrderState::PendingPayment))).await?;

    let leaving = async {
        let mut random = StdRng::seed_from_u64(17);
        for round in 0..usize::try_from(ROUNDS)? {
            let after = Duration::from_micros(random.random_range(0..3_000));
            let pay = format!("/orders/{}/pay", unpaid[round % 20].id);
            match round % 3 {
                0 => hang_up(&address, "/orders", "", &shop::order(), after).await?,
                // A transaction of several statements under a lock.
                1 => hang_up(&address, "/returns", "", &shop::return_of(&delivered, 1, 1), after).await?,
                _ => hang_up(&address, &pay, "", &json!({}), after).await?,
            }
        }
        anyhow::Ok(())
    };
    let staying = try_join_all((0..8).map(|_| async {
        let mut acknowledged = Vec::new();
        for _ in 0..40 {
            let order =
                shop::bring(&system.api, shop::place(&system.api, &shop::order()).await?, OrderState::Delivered)
                    .await?;
            acknowledged.push((order.id, shop::request_return(&system.api, &order, 0, 1).await?.id));
        }
        anyhow::Ok(acknowledged)
    }));
    let ((), acknowledged) = tokio::try_join!(leaving, staying)?;

    let (orders, returns): (Vec<Uuid>, Vec<Uuid>) = acknowledged.into_iter().flatten().unzip();
    for (table, ids) in [("orders", &orders), ("returns", &returns)] {
        let query = if table == "orders" {
            "select id from command.orders where id = any($1)"
        } else {
            "select id from command.returns where id = any($1)"
        };
        let kept: Vec<Uuid> = sqlx::query_scalar(query).bind(ids).fetch_all(&system.database.pool).await?;
        let lost: BTreeSet<_> = ids.iter().filter(|id| !kept.contains(id)).collect();
        assert!(lost.is_empty(), "{} acknowledged {table} are lost", lost.len());
    }
    eventually_equal("no transaction is left open", SOON, 0, async || idle_in_transaction(&system.database.pool).await)
        .await?;
    let returned: i64 =
        sqlx::query_scalar("select count(*) from command.returns where order_id = $1 and state <> 'REJECTED'")
            .bind(delivered.id)
            .fetch_one(&system.database.pool)
            .await?;
    assert_eq!(returned, 1, "a hundred clients asked for a return of the one unit and hung up");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyed_command_whose_client_hung_up_is_found_by_its_repeat() -> Result<()> {
    let system = System::commands_only().await?;
    let address = system.base_url().trim_start_matches("http://").to_owned();
    let delivered = shop::bring(
        &system.api,
        shop::place(&system.api, &shop::order_of(&[(100, 10_000)])).await?,
        OrderState::Delivered,
    )
    .await?;
    let body = shop::return_of(&delivered, 0, 1);
    for round in 0..50_u64 {
        let key = format!("gone-{round}");
        let header = format!("Idempotency-Key: {key}\r\n");
        hang_up(&address, "/returns", &header, &body, Duration::from_micros(round * 60)).await?;
        // Half of them repeat at once, while the first request may still run.
        tests::eventually("the repeat is answered", SOON, async || {
            let call = system.api.call(reqwest::Method::POST, "/returns").header("Idempotency-Key", &key);
            let answer = call.json(&body).send().await?;
            if answer.status == 409 {
                answer.refused(409, "IDEMPOTENCY_KEY_IN_PROGRESS");
                return Ok(None);
            }
            Ok(Some(answer.expect(201)))
        })
        .await?;
        let returns = books::count(&system.database.pool, "select count(*) from command.returns").await?;
        assert_eq!(returns, i64::try_from(round)? + 1, "one return per key");
    }
    system.finish().await
}

/// Lets other tasks run for this long. A timer is too coarse: `begin()` takes less than its resolution, a millisecond.
async fn spin(duration: Duration) {
    let started = Instant::now();
    while started.elapsed() < duration {
        tokio::task::yield_now().await;
    }
}

/// The median duration of a `begin()` on this machine.
async fn duration_of_begin(pool: &PgPool) -> Result<Duration> {
    let mut durations = Vec::new();
    for _ in 0..51 {
        let started = Instant::now();
        let transaction = pool.begin().await?;
        durations.push(started.elapsed());
        transaction.rollback().await?;
    }
    durations.sort_unstable();
    Ok(durations[25])
}

/// Drops `begin()` at many different moments. After each, a borrower of the same pool inserts a row. Returns the number of
/// rows that no other connection can see, and the number of connections that are idle in a transaction.
async fn lost_inserts(pool: &PgPool, database: &Database) -> Result<(i64, i64)> {
    sqlx::query("create table if not exists kept (n bigint)").execute(&database.pool).await?;
    sqlx::query("truncate kept").execute(&database.pool).await?;
    let whole = duration_of_begin(pool).await?;
    for round in 0..ROUNDS {
        let borrowed = pool.clone();
        let beginning = tokio::spawn(async move {
            let _transaction = borrowed.begin().await;
            std::future::pending::<()>().await;
        });
        // From at once to one and a half times its duration.
        spin(whole.mul_f64(f64::from(round % 60) / 40.0)).await;
        beginning.abort();
        let _cancelled = beginning.await;
        sqlx::query("insert into kept values ($1)").bind(i64::from(round)).execute(pool).await?;
    }
    let seen = books::count(&database.pool, "select count(*) from kept").await?;
    Ok((i64::from(ROUNDS) - seen, idle_in_transaction(&database.pool).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_begin_costs_the_next_borrower_nothing() -> Result<()> {
    let database = Database::new().await?;
    let config = DatabaseConfig { max_connections: 4, ..database.config() };
    let ours = database::connect(&config, None, "ours").await?;
    assert_eq!(lost_inserts(&ours, &database).await?, (0, 0));
    ours.close().await;

    // The same without the pool's hook, to prove that the hook is necessary.
    let bare = PgPoolOptions::new().max_connections(4).test_before_acquire(false).connect(&database.url).await?;
    // On a busy machine a round may miss the moment.
    let mut rounds = 0..5;
    while lost_inserts(&bare, &database).await?.0 == 0 {
        assert!(rounds.next().is_some(), "sqlx leaks no transaction any more: the hook in runtime::database can go");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_caller_is_gone_ends_whole() -> Result<()> {
    let database = Database::new().await?;
    let config = DatabaseConfig { max_connections: 4, ..database.config() };
    let pool = database::connect(&config, None, "ours").await?;
    sqlx::query("create table pairs (n bigint)").execute(&database.pool).await?;
    join_all((0..100_i64).map(|number| {
        let pool = pool.clone();
        async move {
            let pair = database::in_transaction(&pool, move |conn| {
                Box::pin(async move {
                    for _ in 0..2 {
                        sqlx::query("insert into pairs values ($1)").bind(number).execute(&mut *conn).await?;
                    }
                    Ok::<_, sqlx::Error>(())
                })
            });
            let patience = Duration::from_micros(u64::try_from(number).unwrap_or_default() * 100);
            let _gone = tokio::time::timeout(patience, pair).await;
        }
    }))
    .await;
    eventually_equal("every transaction has ended", SOON, (0, 0), async || {
        let halves = "select count(*) from (select n from pairs group by n having count(*) <> 2) as half";
        Ok((books::count(&database.pool, halves).await?, idle_in_transaction(&database.pool).await?))
    })
    .await?;
    pool.close().await;
    Ok(())
}

fn signal(process: i32, name: &str) -> Result<()> {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status()?;
    ensure!(sent.success(), "no such process: {process}");
    Ok(())
}

/// As when a firewall has forgotten a connection: no bytes arrive on it, and neither side gets an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_went_silent_is_replaced_before_its_next_use() -> Result<()> {
    let database = Database::new().await?;
    let pool = database::connect(&DatabaseConfig { max_connections: 1, ..database.config() }, None, "ours").await?;
    let backend = async || sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&pool).await;
    let silent = backend().await?;
    let rested = "select clock_timestamp() - state_change > interval '1 s' from pg_stat_activity where pid = $1";
    eventually_equal("the connection has been idle", SOON, true, async || {
        Ok(sqlx::query_scalar(rested).bind(silent).fetch_one(&database.pool).await?)
    })
    .await?;
    signal(silent, "STOP")?;
    let used = backend().await;
    signal(silent, "CONT")?;
    assert_ne!(used?, silent);
    Ok(())
}
