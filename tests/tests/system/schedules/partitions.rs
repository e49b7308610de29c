//! A schedule makes and drops partitions, and deletes old runs.

use anyhow::Result;
use chrono::TimeDelta;
use runtime::Clock;
use serde_json::json;
use sqlx::AssertSqlSafe;
use standalone::Part;
use tests::books::count;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, eventually};

use super::last_run;
use crate::operations::execute;

/// The partitions for the days after tomorrow.
const LATER: &str =
    "from messaging.partitions where parent = 'outbox' and until_day > (now() at time zone 'UTC')::date + 2";

async fn lose_the_later_ones(database: &Database) -> Result<()> {
    let lost = format!(
        "do $$ declare later record; begin for later in select name {LATER} loop execute 'drop table messaging.' || later.name; end loop; end $$"
    );
    execute(&database.pool, &lost).await
}

async fn they_are_there_again(database: &Database) -> Result<()> {
    let fortnight = format!("select count(*) {LATER} and until_day > (now() at time zone 'UTC')::date + 14");
    eventually_equal("the partitions are there", SOON, 1, async || {
        count(&database.pool, AssertSqlSafe(fortnight.as_str())).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_made_at_the_start_and_every_hour() -> Result<()> {
    let (database, clock) = (Database::new().await?, Clock::system());
    lose_the_later_ones(&database).await?;
    execute(
        &database.pool,
        "insert into messaging.schedules (name, cron, timezone, next_due_at, last_due_at)
             values ('partition_maintenance', '0 * * * *', 'UTC', date_trunc('hour', now()) + interval '1 hour', date_trunc('hour', now()));
         insert into messaging.schedule_runs (name, due_at, attempt, owner, started_at, finished_at, status)
             select 'partition_maintenance', now() - days * interval '1 day', 1, 'earlier', now(), now(), 'done'
             from unnest(array[89, 91, 400]) as days;
         insert into messaging.schedules (name, cron, timezone, next_due_at) values ('yearly', '0 0 1 4 *', 'UTC', now() + interval '99 days');
         insert into messaging.schedule_runs (name, due_at, attempt, owner, started_at, finished_at, status)
             values ('yearly', now() - interval '200 days', 1, 'earlier', now(), now(), 'failed')",
    )
    .await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Relay, Part::Operations];
        options.clock = clock.clone();
        options.relay.retention.days = 40;
    })
    .await?;
    they_are_there_again(&system.database).await?;

    lose_the_later_ones(&system.database).await?;
    clock.advance(TimeDelta::hours(1));
    they_are_there_again(&system.database).await?;
    let widths: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(format!("select until_day - from_day {LATER}")))
        .fetch_all(&system.database.pool)
        .await?;
    assert!(widths.iter().all(|days| *days == 5), "an eighth of the retention each: {widths:?}");
    let run = eventually("the run is recorded", SOON, async || {
        let shown = system.api.get("/ops/schedules").await?.expect(200).json();
        let run = last_run(&shown, "partition_maintenance").clone();
        Ok((run["status"] == "done" && run["result"] != json!(null)).then_some(run))
    })
    .await?;
    assert_eq!(run["result"], json!({ "made": widths.len(), "dropped": [], "runs_deleted": 2 }), "{run}");
    let left: Vec<(String, i64)> =
        sqlx::query_as("select name, count(*) from messaging.schedule_runs group by name order by name")
            .fetch_all(&system.database.pool)
            .await?;
    assert_eq!(left, [("partition_maintenance".to_owned(), 2), ("yearly".to_owned(), 1)], "the newest of each stays");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_leave_no_gap_and_go_when_all_their_days_are_old() -> Result<()> {
    let database = Database::new().await?;
    let pool = &database.pool;
    let make = "select messaging.ensure_partitions(100, 14, 11)::int8";
    let gaps =
        "select count(*) from (select until_day, lead(from_day) over (partition by parent order by from_day) as next
                                      from messaging.partitions) as line where until_day <> next";
    let today = "(now() at time zone 'UTC')::date";
    let reaches = format!(
        "select count(*) from (select min(from_day) as first, max(until_day) as last from messaging.partitions group by parent) as table_
         where first = {today} - 100 and last > {today} + 14"
    );
    assert!(count(pool, make).await? > 0);
    assert_eq!(count(pool, gaps).await?, 0);
    assert_eq!(count(pool, AssertSqlSafe(reaches)).await?, 2);
    assert_eq!(count(pool, "select max(until_day - from_day)::int8 from messaging.partitions").await?, 11);
    assert_eq!(count(pool, make).await?, 0, "no partition is missing");

    let partitions = "select string_agg(partitions::text, ' ' order by name) from messaging.partitions";
    let before: String = sqlx::query_scalar(partitions).fetch_one(pool).await?;
    let lose_one = format!(
        "do $$ begin execute (select 'drop table messaging.' || name from messaging.partitions
                              where from_day <= {today} - 50 and until_day > {today} - 50 and parent = 'inbox'); end $$"
    );
    execute(pool, &lose_one).await?;
    assert_eq!(count(pool, make).await?, 1);
    assert_eq!(sqlx::query_scalar::<_, String>(partitions).fetch_one(pool).await?, before, "the gap is closed");

    // An event of the newest day that the partitions about to go have.
    let newest = format!("select max(until_day) - 1 from messaging.partitions where until_day <= {today} - 60");
    let day: chrono::NaiveDate = sqlx::query_scalar(AssertSqlSafe(newest)).fetch_one(pool).await?;
    let event = "insert into messaging.outbox (event_id, aggregate_type, aggregate_id, aggregate_version, shard, event_type,
                                               payload, occurred_at, published_at)
                 select messaging.lowest_event_id($1::timestamp at time zone 'UTC'), 'order', gen_random_uuid(), 1, 0, 'order.created',
                        '{}', now(), now()";
    sqlx::query(event).bind(day).execute(pool).await?;
    let drop_one = "select messaging.drop_expired_partition(60)";
    while sqlx::query_scalar::<_, Option<String>>(drop_one).fetch_one(pool).await?.is_some() {}
    let left = format!("select count(*) from messaging.partitions where until_day <= {today} - 60");
    assert_eq!(count(pool, AssertSqlSafe(left)).await?, 0);
    let kept = format!(
        "select count(distinct parent) from messaging.partitions where from_day <= {today} - 60 and until_day > {today} - 60"
    );
    assert_eq!(count(pool, AssertSqlSafe(kept)).await?, 2, "one that is old in part stays");
    let dropped: chrono::NaiveDate =
        sqlx::query_scalar("select dropped_through from messaging.retention").fetch_one(pool).await?;
    assert_eq!(dropped, day, "snapshots must be newer than all that is gone");
    Ok(())
}
