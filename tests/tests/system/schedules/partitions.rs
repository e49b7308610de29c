//! Partitions are made and dropped by the clock, and old runs forgotten.

use anyhow::Result;
use chrono::TimeDelta;
use runtime::Clock;
use serde_json::json;
use standalone::Part;
use tests::waiting::SOON;
use tests::{Database, System, eventually};

use super::last_run;
use crate::operations::execute;

const NEXT_WEEK: &str = "to_char((now() at time zone 'UTC')::date + 7, 'YYYYMMDD')";

async fn lose_a_day(database: &Database) -> Result<()> {
    let lost = format!("do $$ begin execute 'drop table messaging.outbox_' || {NEXT_WEEK}; end $$");
    execute(&database.pool, &lost).await
}

async fn the_day_is_there_again(database: &Database) -> Result<()> {
    let there = format!("select to_regclass('messaging.outbox_' || {NEXT_WEEK}) is not null");
    eventually("the partition is there", SOON, async || {
        let there: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(there.clone())).fetch_one(&database.pool).await?;
        Ok(there.then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_made_at_the_start_and_every_hour() -> Result<()> {
    let (database, clock) = (Database::new().await?, Clock::system());
    lose_a_day(&database).await?;
    execute(
        &database.pool,
        "insert into messaging.schedules (name, cron, timezone, next_due_at, last_due_at)
             values ('partition_upkeep', '0 * * * *', 'UTC', date_trunc('hour', now()) + interval '1 hour', date_trunc('hour', now()));
         insert into messaging.schedule_runs (name, due_at, attempt, owner, started_at, finished_at, status)
             select 'partition_upkeep', now() - days * interval '1 day', 1, 'somebody', now(), now(), 'done'
             from unnest(array[89, 91, 400]) as days;
         insert into messaging.schedules (name, cron, timezone, next_due_at) values ('yearly', '0 0 1 4 *', 'UTC', now() + interval '99 days');
         insert into messaging.schedule_runs (name, due_at, attempt, owner, started_at, finished_at, status)
             values ('yearly', now() - interval '200 days', 1, 'somebody', now(), now(), 'failed')",
    )
    .await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Relay];
        options.clock = clock.clone();
    })
    .await?;
    the_day_is_there_again(&system.database).await?;

    lose_a_day(&system.database).await?;
    clock.advance(TimeDelta::hours(1));
    the_day_is_there_again(&system.database).await?;
    let run = eventually("it is recorded", SOON, async || {
        let shown = system.api.get("/ops/schedules").await?.expect(200).json();
        let run = last_run(&shown, "partition_upkeep").clone();
        Ok((run["status"] == "done" && run["result"] != json!(null)).then_some(run))
    })
    .await?;
    assert_eq!(run["result"], json!({ "made": 1, "dropped": [], "runs_forgotten": 2 }), "{run}");
    let left: Vec<(String, i64)> =
        sqlx::query_as("select name, count(*) from messaging.schedule_runs group by name order by name")
            .fetch_all(&system.database.pool)
            .await?;
    assert_eq!(left, [("partition_upkeep".to_owned(), 2), ("yearly".to_owned(), 1)], "the newest of each stays");
    system.finish().await
}
