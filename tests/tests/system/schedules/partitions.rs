//! A schedule makes and drops partitions, and deletes old runs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use runtime::Clock;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use standalone::Part;
use tests::books::count;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, eventually};

use super::last_run;
use crate::operations::execute;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The partitions for the days after tomorrow.
const LATER: &str = "from messaging.partitions where parent = 'outbox' and until_at > now() + interval '2 days'";
/// Partitions of these tables are made and dropped together.
const TABLES: i64 = 6;

async fn lose_the_later_ones(database: &Database) -> Result<()> {
    let lost = format!(
        "do $$ declare later text; begin for later in select name {LATER} loop execute format('drop table messaging.%I', later); end loop; end $$"
    );
    execute(&database.pool, &lost).await
}

async fn they_are_there_again(database: &Database) -> Result<()> {
    let fortnight = format!("select count(*) {LATER} and until_at > now() + interval '14 days'");
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
        options.relay.retention.keep = 40 * DAY;
    })
    .await?;
    they_are_there_again(&system.database).await?;

    lose_the_later_ones(&system.database).await?;
    clock.advance(TimeDelta::hours(1));
    they_are_there_again(&system.database).await?;
    let width = format!("select (extract(epoch from until_at - from_at) / 86400)::int {LATER}");
    let widths: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(width)).fetch_all(&system.database.pool).await?;
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

/// A relay that keeps what is this old. No other process runs.
async fn relay_that_keeps(database: Database, keep: Duration, clock: &Clock) -> Result<System> {
    System::start_on(database, |options| {
        options.parts = vec![Part::Relay];
        options.clock = clock.clone();
        options.relay.retention.keep = keep;
    })
    .await
}

/// Lets an hour pass, and returns the names of the partitions that the run of that hour has dropped.
async fn dropped_by_the_next_run(system: &System, clock: &Clock) -> Result<BTreeSet<String>> {
    let pool = &system.database.pool;
    let due: DateTime<Utc> = eventually("the schedule is there", SOON, async || {
        let due = "select next_due_at from messaging.schedules where name = 'partition_maintenance'";
        Ok(sqlx::query_scalar(due).fetch_optional(pool).await?)
    })
    .await?;
    clock.advance(TimeDelta::hours(1));
    let result: Value = eventually("the run is done", SOON, async || {
        let done = "select result from messaging.schedule_runs
                    where name = 'partition_maintenance' and due_at = $1 and status = 'done'";
        Ok(sqlx::query_scalar(done).bind(due).fetch_optional(pool).await?)
    })
    .await?;
    Ok(serde_json::from_value(result["dropped"].clone())?)
}

/// Every consumer of the log has passed this position.
async fn set_marks(pool: &PgPool, position: i64) -> Result<()> {
    let marks = "insert into messaging.marks (consumer, shard, epoch, mark) select consumer, shard, 0, $1 from messaging.last_marks";
    sqlx::query(marks).bind(position).execute(pool).await?;
    Ok(())
}

/// Writes an event of this time that goes to no queue.
async fn event_at(pool: &PgPool, at: DateTime<Utc>) -> Result<()> {
    let event = "select messaging.append_events('order', array[messaging.lowest_event_id($1)], array[gen_random_uuid()], array[1],
                                                array['order.paid'], array['{}'::jsonb], array[null::text], array[$1])";
    sqlx::query(event).bind(at).execute(pool).await?;
    Ok(())
}

/// The start of the day that was so many days ago, and its partitions.
async fn day(pool: &PgPool, ago: i32) -> Result<(DateTime<Utc>, BTreeSet<String>)> {
    let start = "select date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' - make_interval(days => $1)";
    let start: DateTime<Utc> = sqlx::query_scalar(start).bind(ago).fetch_one(pool).await?;
    let names: Vec<String> = sqlx::query_scalar("select name from messaging.partitions where from_at = $1")
        .bind(start)
        .fetch_all(pool)
        .await?;
    Ok((start, names.into_iter().collect()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_beyond_the_retention_are_dropped_once_they_are_settled() -> Result<()> {
    let (database, clock) = (Database::new().await?, Clock::system());
    let make = "select messaging.ensure_partitions(interval '12 days', interval '0', interval '1 day')";
    execute(&database.pool, make).await?;
    let (settled, settled_day) = day(&database.pool, 12).await?;
    let (open, open_day) = day(&database.pool, 11).await?;
    let (_, empty_day) = day(&database.pool, 10).await?;
    for at in [settled, open] {
        event_at(&database.pool, at + TimeDelta::hours(1)).await?;
    }
    set_marks(&database.pool, 1).await?;
    let system = relay_that_keeps(database, 9 * DAY, &clock).await?;
    let pool = &system.database.pool;

    let dropped = dropped_by_the_next_run(&system, &clock).await?;
    assert_eq!(dropped, &settled_day | &empty_day, "not the day of an event that a consumer has not passed");
    assert_eq!(i64::try_from(dropped.len())?, 2 * TABLES);
    set_marks(pool, 2).await?;
    let of_event = "from messaging.outbox where position = 2";
    for (obstacle, way_out) in [
        (
            format!(
                "insert into messaging.outbox_exceptions
                     (event_id, position, shard, aggregate_id, aggregate_version, status, parked_at, parked_reason)
                 select event_id, position, shard, aggregate_id, 1, 'PARKED', now(), 'TOO_LARGE' {of_event}"
            ),
            "update messaging.outbox_exceptions set status = 'SKIPPED', parked_at = null, parked_reason = null",
        ),
        (
            format!(
                "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
                 select 'refunds', event_id, aggregate_id, 1, now() {of_event}"
            ),
            "update messaging.inbox set status = 'done', finished_at = now()",
        ),
        (
            "with endpoint as (
                 insert into messaging.webhook_endpoints (id, url, secret, created_at, updated_at)
                 values (gen_random_uuid(), 'https://shop.example/', 'whsec_', now(), now()) returning id
             )
             insert into messaging.webhook_deliveries (event_id, endpoint_id, event_type, aggregate_id, aggregate_version)
             select event_id, endpoint.id, 'order.paid', aggregate_id, 1 from endpoint, messaging.outbox where position = 2"
                .to_owned(),
            "update messaging.webhook_endpoints set deleted_at = now()",
        ),
    ] {
        execute(pool, &obstacle).await?;
        assert_eq!(dropped_by_the_next_run(&system, &clock).await?, BTreeSet::new(), "{obstacle}");
        execute(pool, way_out).await?;
    }
    assert_eq!(dropped_by_the_next_run(&system, &clock).await?, open_day, "once it is settled, its day goes as well");
    let until: DateTime<Utc> =
        sqlx::query_scalar("select dropped_until from messaging.retention").fetch_one(pool).await?;
    assert_eq!(until, open + TimeDelta::days(1), "snapshots must be newer than all that is gone");
    // Not `finish`: no command wrote these two.
    system.abandon().await
}

/// On RabbitMQ an event is out long before it is in the inbox, if the consumer is away.
#[tokio::test]
async fn a_day_is_not_settled_before_its_events_have_arrived() -> Result<()> {
    let database = Database::new().await?;
    let pool = &database.pool;
    execute(pool, "select messaging.ensure_partitions(interval '12 days', interval '0', interval '1 day')").await?;
    let (start, _) = day(pool, 12).await?;
    event_at(pool, start + TimeDelta::hours(1)).await?;
    let why = async || -> Result<Option<String>> {
        let why =
            "select messaging.unsettled(name, messaging.lowest_event_id(from_at), messaging.lowest_event_id(until_at))
                   from messaging.partitions where parent = 'outbox' and from_at = $1";
        Ok(sqlx::query_scalar(why).bind(start).fetch_one(pool).await?)
    };
    let sent = "insert into messaging.marks (consumer, shard, epoch, mark)
                select consumer, shard, 0, 1 from messaging.last_marks where consumer <> 'arrived'";
    execute(pool, sent).await?;
    assert!(why().await?.is_some_and(|why| why.starts_with("arrived has not passed it")));
    set_marks(pool, 1).await?;
    assert_eq!(why().await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_leave_no_gap_and_go_when_all_their_days_are_old() -> Result<()> {
    let (database, clock) = (Database::new().await?, Clock::system());
    let pool = &database.pool;
    let make = "select messaging.ensure_partitions(interval '100 days', interval '14 days', interval '11 days')::int8";
    let gaps =
        "select count(*) from (select until_at, lead(from_at) over (partition by parent order by from_at) as next
                                      from messaging.partitions) as line where until_at <> next";
    let reaches = "select count(*) from (select min(from_at) as first, max(until_at) as last from messaging.partitions group by parent) as table_
                   where first = date_trunc('day', now() - interval '100 days', 'UTC') and last > now() + interval '14 days'";
    assert!(count(pool, make).await? > 0);
    assert_eq!(count(pool, gaps).await?, 0);
    assert_eq!(count(pool, reaches).await?, TABLES);
    let widest = "select (extract(epoch from max(until_at - from_at)) / 86400)::int8 from messaging.partitions";
    assert_eq!(count(pool, widest).await?, 11);
    assert_eq!(count(pool, make).await?, 0, "no partition is missing");

    let partitions = "select string_agg(partitions::text, ' ' order by name) from messaging.partitions";
    let before: String = sqlx::query_scalar(partitions).fetch_one(pool).await?;
    let lose_one = "do $$ begin execute (select format('drop table messaging.%I', name) from messaging.partitions
                                         where from_at <= now() - interval '50 days' and until_at > now() - interval '50 days'
                                           and parent = 'inbox'); end $$";
    execute(pool, lose_one).await?;
    assert_eq!(count(pool, make).await?, 1);
    assert_eq!(sqlx::query_scalar::<_, String>(partitions).fetch_one(pool).await?, before, "the gap is closed");

    // An event of the last hour that the partitions about to go have.
    let newest = "select max(until_at) from messaging.partitions where until_at <= now() - interval '60 days'";
    let end: DateTime<Utc> = sqlx::query_scalar(newest).fetch_one(pool).await?;
    event_at(pool, end - TimeDelta::hours(1)).await?;
    set_marks(pool, 1).await?;
    let system = relay_that_keeps(database, 60 * DAY, &clock).await?;
    let pool = &system.database.pool;
    assert!(!dropped_by_the_next_run(&system, &clock).await?.is_empty());
    let left = "select count(*) from messaging.partitions where until_at <= now() - interval '60 days'";
    assert_eq!(count(pool, left).await?, 0);
    let kept = "select count(distinct parent) from messaging.partitions
                where from_at <= now() - interval '60 days' and until_at > now() - interval '60 days'";
    assert_eq!(count(pool, kept).await?, TABLES, "one that is old in part stays");
    let dropped: DateTime<Utc> =
        sqlx::query_scalar("select dropped_until from messaging.retention").fetch_one(pool).await?;
    assert_eq!(dropped, end, "snapshots must be newer than all that is gone");
    system.abandon().await
}
