//! Reads under load: slow reports and waiting requests take no connection from what could go on.

use std::time::Duration;

use access::ConsistencyKey;
use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use sqlx::PgPool;
use tests::waiting::{SOON, eventually_equal};
use tests::{Answer, Api, System, books, eventually, shop};
use tokio::time::timeout;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_hang_hold_up_neither_the_projector_nor_other_reads() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let (pool, api) = (&system.database.pool, &system.api);
    let mut blocking = pool.begin().await?;
    sqlx::query("lock table read.daily_reports in access exclusive mode").execute(&mut *blocking).await?;
    let reports = join_all((0..30).map(|_| api.get("/reports/daily")));
    let others = async {
        let hang = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'query reports' and wait_event_type = 'Lock'";
        eventually_equal("all connections of reports are busy", SOON, 3, async || books::count(pool, hang).await)
            .await?;
        for _ in 0..20 {
            let placed = api.post("/orders", &shop::order()).await?.expect(201);
            api.read(&format!("/orders/{}", placed.order().id), placed.token()).await?.expect(200);
        }
        let ready = Api::new(system.base_url())?.get("/health/ready").await?;
        ready.expect(200);
        blocking.rollback().await?;
        anyhow::Ok(())
    };
    let (_answers, went_on) = tokio::join!(reports, others);
    went_on?;
    system.finish().await
}

/// Waits for twenty versions that never come. While the request is refused, because another one has taken the place, it is
/// repeated.
async fn wait_for_twenty(system: &System, first: u128) -> Result<Answer> {
    let key = ConsistencyKey::load(&system.database.pool).await?;
    let tokens: Vec<_> = (first..first + 20).map(|n| key.token("order", Uuid::from_u128(n), 1)).collect();
    let tokens = tokens.join(",");
    let wait = async || Ok(Some(system.api.read("/orders", &tokens).await?).filter(|answer| answer.status != 503));
    eventually("it waits", SOON, wait).await
}

/// How many connections for waiting requests, and how many for others, have looked for versions since then.
async fn looked(pool: &PgPool, since: DateTime<Utc>) -> Result<(i64, i64)> {
    let looks = "select count(*) filter (where application_name = 'query waiting'),
                        count(*) filter (where application_name = 'query')
                 from pg_stat_activity
                 where datname = current_database() and query_start > $1 and query like '%of_history%'";
    Ok(sqlx::query_as(looks).bind(since).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_task_looks_for_all_waiting_requests_and_their_number_is_limited() -> Result<()> {
    let system = System::start(|options| options.query.consistency_wait_ms = 20_000).await?;
    let (pool, api) = (&system.database.pool, &system.api);
    // The projector is at rest when it is paused. One that is just starting could still take the next order.
    shop::place(api, &shop::order()).await?;
    books::projected(pool, SOON).await?;
    sqlx::query("update messaging.queues set paused_at = now() where name = 'projections'").execute(pool).await?;
    let placed = api.post("/orders", &shop::order()).await?.expect(201);
    let (path, token) = (format!("/orders/{}", placed.order().id), placed.token().to_owned());

    let waiting = join_all((0..50).map(|request| wait_for_twenty(&system, request * 100)));
    let meanwhile = async {
        let refused = eventually("no more may wait", SOON, async || {
            // While there is room, this one waits too, and hangs up.
            timeout(Duration::from_secs(1), api.read(&path, &token)).await.ok().transpose()
        })
        .await?;
        let error = refused.refused(503, "TOO_MANY_WAITING");
        assert!(error.message.contains("try again"), "{}", error.message);
        assert_eq!(refused.header("retry-after"), "1");
        for _ in 0..5 {
            let now: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?;
            eventually_equal("one connection has looked for all", SOON, (1, 0), async || looked(pool, now).await)
                .await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        answers = waiting => bail!("they did not wait: {answers:?}"),
        ended = meanwhile => ended?,
    }

    // They have hung up, and that makes room.
    eventually_equal("there is room again", SOON, false, async || {
        let answered = timeout(Duration::from_secs(1), api.read(&path, &token)).await.ok().transpose()?;
        Ok(answered.is_some_and(|answer| answer.status == 503))
    })
    .await?;
    sqlx::query("update messaging.queues set paused_at = null").execute(pool).await?;
    api.read(&path, &token).await?.expect(200);
    system.finish().await
}
