//! Connections to the database that are of no use any more, and new ones that are not what was asked for.

use std::net::{Ipv4Addr, SocketAddr};

use access::{Access, ConsistencyKey};
use anyhow::{Context, Result};
use reqwest::Url;
use runtime::config::DatabaseConfig;
use runtime::{Clock, Ids, Tasks, database};
use sqlx::PgPool;
use standalone::Part;
use tests::faults::proxy::Proxy;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, shop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Where a database is, and the same URL with another port.
fn address_of(database: &Database) -> Result<SocketAddr> {
    let port = Url::parse(&database.url)?.port().context("a port")?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

fn by_way_of(address: SocketAddr, database: &Database) -> Result<String> {
    let mut url = Url::parse(&database.url)?;
    url.set_port(Some(address.port())).ok().context("a URL with a host")?;
    url.set_query(Some("sslmode=disable"));
    Ok(url.into())
}

/// As when a firewall forgets a connection at rest: the batcher learns of it neither by an answer nor by an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batcher_whose_connection_was_forgotten_takes_another_one() -> Result<()> {
    let database = Database::new().await?;
    let proxy = Proxy::start(address_of(&database)?, 1).await?;
    let url = by_way_of(proxy.address(), &database)?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Command];
        options.database_url = url.into();
        options.command.command_batchers = 1;
    })
    .await?;
    shop::place(&system.api, &shop::order()).await?;
    let rested = "select bool_and(clock_timestamp() - state_change > interval '1 s') from pg_stat_activity
                  where datname = current_database() and application_name = 'command' and query like '%with command as%'";
    eventually_equal("the batcher's connection is at rest", SOON, true, async || {
        Ok(sqlx::query_scalar(rested).fetch_one(&system.database.pool).await?)
    })
    .await?;
    proxy.forget_all();
    shop::place(&system.api, &shop::order()).await?;
    system.finish().await
}

/// Lets every session that exists by now fail with that SQLSTATE whenever it inserts an order, and returns how many of the service
/// there are.
async fn break_sessions(pool: &PgPool, sqlstate: &str) -> Result<i64> {
    let breaks = "
        create table if not exists public.broken (pid int, sqlstate text);
        create or replace function public.fail_if_broken() returns trigger language plpgsql security definer as $$
        declare found text := (select sqlstate from public.broken where pid = pg_backend_pid() limit 1);
        begin
            if found is not null then
                raise exception 'this session is broken' using errcode = found;
            end if;
            return null;
        end $$;
        create or replace trigger fail_if_broken before insert on command.orders
            for each statement execute function public.fail_if_broken();";
    sqlx::raw_sql(breaks).execute(pool).await?;
    let marks = "with marked as (
            insert into public.broken select pid, $1 from pg_stat_activity where datname = current_database() returning pid
        )
        select count(*) from marked join pg_stat_activity using (pid) where application_name = 'command'";
    Ok(sqlx::query_scalar(marks).bind(sqlstate).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batcher_gives_up_a_connection_that_the_server_says_is_of_no_use() -> Result<()> {
    let system = System::start(|options| {
        options.parts = vec![Part::Command];
        options.command.command_batchers = 1;
    })
    .await?;
    for sqlstate in ["25006", "57P01", "08006", "58030"] {
        shop::place(&system.api, &shop::order()).await?;
        let broken = break_sessions(&system.database.pool, sqlstate).await?;
        // The pool may have had others at hand, which are broken too. Each fails one command and is not used again.
        let mut refusals = 0;
        loop {
            let answer = system.api.post("/orders", &shop::order()).await?;
            if answer.status == 201 {
                break;
            }
            let refused = answer.refused(503, "SERVICE_UNAVAILABLE");
            assert!(!refused.message.contains("broken"), "{sqlstate}: {refused:?}");
            refusals += 1;
            assert!(refusals <= broken, "{sqlstate}: {refusals} refusals by {broken} sessions");
        }
        assert!(refusals > 0, "{sqlstate}");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooled_connection_that_is_of_no_use_is_not_used_again() -> Result<()> {
    let database = Database::new().await?;
    let pool = database::connect(&DatabaseConfig { max_connections: 1, ..database.config() }, None, "ours").await?;
    let backend = async || sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&pool).await;
    for fails in [
        "set transaction_read_only = on; create table refused ()",
        "do $$ begin raise exception using errcode = '58030'; end $$",
    ] {
        let before = backend().await?;
        let failed = database::limited(sqlx::raw_sql(fails).execute(&pool)).await;
        assert!(failed.is_err(), "{fails}");
        assert_ne!(backend().await?, before, "{fails}");
    }
    sqlx::query("create table accepted ()").execute(&pool).await?;
    Ok(())
}

/// A pooler that ignores the options of a connection, as PgBouncer does with `ignore_startup_parameters = options`.
async fn pooler_that_ignores_options(server: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on_without_options(client, server));
        }
    });
    Ok(address)
}

/// The first message of a connection: length, version, then names and values that end in a zero byte each, then a zero byte.
async fn pass_on_without_options(mut client: TcpStream, server: SocketAddr) -> Result<()> {
    let length = usize::try_from(client.read_u32().await?)?;
    let mut startup = vec![0; length - 4];
    client.read_exact(&mut startup).await?;
    let (version, parameters) = startup.split_at(4);
    let words: Vec<&[u8]> = parameters.split(|byte| *byte == 0).collect();
    let mut kept = version.to_vec();
    for pair in words.chunks_exact(2).filter(|pair| !pair[0].is_empty() && pair[0] != b"options") {
        kept.extend(pair.iter().flat_map(|word| word.iter().chain(&[0])));
    }
    kept.push(0);
    let mut server = TcpStream::connect(server).await?;
    server.write_u32(u32::try_from(kept.len() + 4)?).await?;
    server.write_all(&kept).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_options_were_ignored_is_refused() -> Result<()> {
    let database = Database::new().await?;
    let pooler = pooler_that_ignores_options(address_of(&database)?).await?;
    let config = DatabaseConfig { database_url: by_way_of(pooler, &database)?.into(), ..database.config() };
    for (role, option) in
        [(Some("articurated_command"), "role = articurated_command"), (None, "statement_timeout = 30000")]
    {
        let error = database::connect(&config, role, "ours").await.expect_err("refused").to_string();
        assert!(error.contains(option) && error.contains("pooler"), "{error}");
    }
    let error = database::connection(&config, "articurated_maintenance", "ours").await.expect_err("refused");
    assert!(error.to_string().contains("role = articurated_maintenance"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_the_batchers_would_use_up_is_refused_at_start() -> Result<()> {
    let database = Database::new().await?;
    let config = DatabaseConfig { max_connections: 9, ..database.config() };
    let pool = database::connect(&config, Some("articurated_command"), "command").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let (settings, access) = (command::Settings::default(), Access::unchecked());
    let key = ConsistencyKey::load(&pool).await?;
    let started = command::start(pool, &settings, Clock::system(), Ids::system(), &access, key, &tasks);
    let error = started.expect_err("too few connections").to_string();
    assert!(error.contains("DATABASE_MAX_CONNECTIONS is 9: raise that to 10"), "{error}");
    tasks.drain(SOON).await
}
