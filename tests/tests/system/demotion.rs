//! A primary that becomes a standby and is promoted again, or that replays its log.

use std::fs::File;

use anyhow::Result;
use embedded::postgres::{self, PrivateCluster};
use messaging::leases;
use runtime::config::DatabaseConfig;
use runtime::database;
use sqlx::{Connection, PgConnection};
use standalone::{Options, Part};
use tests::waiting::{SOON, eventually, eventually_equal};
use tests::{Api, services, shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_unavailable_on_a_standby_and_resume_after_its_promotion() -> Result<()> {
    let folder = services::folder("demotion")?;
    let mut cluster =
        PrivateCluster::start(postgres::Options { fresh: true, ..postgres::Options::new(&folder) }).await?;
    cluster.create_database("shop").await?;
    let config = DatabaseConfig { database_url: cluster.url("shop").into(), ..DatabaseConfig::default() };
    let pool = database::connect(&config, None, "migrate").await?;
    schema::migrate(&pool).await?;
    pool.close().await;
    let running =
        standalone::start(Options { parts: vec![Part::Command], ..Options::new(cluster.url("shop")) }).await?;
    let (api, health) = (Api::new(&format!("{}/api/v1", running.base_url))?, Api::new(&running.base_url)?);
    let order = shop::place(&api, &shop::order()).await?;

    File::create(folder.join("data").join("standby.signal"))?;
    cluster.restart().await?;
    for _ in 0..2 {
        api.post("/orders", &shop::order()).await?.refused(503, "SERVICE_UNAVAILABLE");
        shop::step(&api, order.id, "pay").await?.refused(503, "SERVICE_UNAVAILABLE");
    }
    health.get("/health/ready").await?.expect(503);
    let mut superuser = PgConnection::connect(&cluster.url("shop")).await?;
    eventually_equal("the service keeps no connection to the standby", SOON, 0_i64, async || {
        let kept = "select count(*) from pg_stat_activity where application_name = 'command'";
        Ok(sqlx::query_scalar(kept).fetch_one(&mut superuser).await?)
    })
    .await?;
    let reading = database::connect_to_read(&config, operations::ROLE, "ops").await?;
    assert!(sqlx::query_scalar::<_, bool>("select pg_is_in_recovery()").fetch_one(&reading).await?);
    reading.close().await;

    sqlx::query("select pg_promote()").execute(&mut superuser).await?;
    eventually("the order is paid", SOON, async || {
        let answer = shop::step(&api, order.id, "pay").await?;
        Ok((answer.status != 503).then(|| answer.expect(200)))
    })
    .await?;
    shop::place(&api, &shop::order()).await?;
    superuser.close().await?;
    running.stop().await?;
    cluster.stop().await;
    Ok(())
}

/// The other backends end with it, and an idle process does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_crash_of_a_backend_nothing_counts_that_was_remembered() -> Result<()> {
    let folder = services::folder("backend-crash")?;
    let cluster = PrivateCluster::start(postgres::Options { fresh: true, ..postgres::Options::new(&folder) }).await?;
    cluster.create_database("shop").await?;
    let config = DatabaseConfig { database_url: cluster.url("shop").into(), ..DatabaseConfig::default() };
    let pool = database::connect(&config, None, "migrate").await?;
    schema::migrate(&pool).await?;
    let before = leases::timeline(&pool).await?;
    assert_eq!(leases::timeline(&pool).await?, before);

    let victim: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&pool).await?;
    let killed = std::process::Command::new("kill").args(["-KILL", &victim.to_string()]).status()?;
    assert!(killed.success());
    eventually("the server counts as another one", SOON, async || {
        let now = leases::timeline(&pool).await.ok();
        Ok(now.filter(|now| *now != before))
    })
    .await?;
    pool.close().await;
    cluster.stop().await;
    Ok(())
}
