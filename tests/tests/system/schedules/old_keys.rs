//! A schedule deletes old idempotency keys, in steps that an open snapshot does not make longer.

use anyhow::Result;
use chrono::TimeDelta;
use runtime::Clock;
use serde_json::{Value, json};
use sqlx::PgPool;
use standalone::Part;
use tests::books::count;
use tests::old_entries::hold_snapshot;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, eventually};

use crate::operations::execute;

const NAME: &str = "idempotency_keys";
/// Many times what one statement deletes.
const KEYS: i64 = 20_000;

/// Keys that were created one after the other, from this time on.
fn keys(number: i64, created: &str) -> String {
    format!(
        "insert into command.idempotency_keys
         select gen_random_uuid()::text, 'orders', n::text, '', 'order', gen_random_uuid(), 201, 'PENDING_PAYMENT', 1, '{{}}', {created} + n * interval '1 ms'
         from generate_series(1, {number}) as n"
    )
}

/// The entries that scans of the index have returned so far, those of deleted keys among them, once everything is counted.
async fn entries_read(pool: &PgPool, deleted: i64) -> Result<i64> {
    let counted = "select n_tup_del from pg_stat_user_tables where relname = 'idempotency_keys'";
    eventually_equal("the deletions are counted", SOON, deleted, async || count(pool, counted).await).await?;
    let read = "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'idempotency_keys_created_at'";
    eventually("the scans are counted", SOON, async || {
        Ok(Some(count(pool, read).await?).filter(|read| *read >= deleted))
    })
    .await
}

/// What the runs have done, in their order.
async fn results(pool: &PgPool) -> Result<Vec<Value>> {
    let results = "select result from messaging.schedule_runs where name = $1 and status = 'done' order by due_at";
    Ok(sqlx::query_scalar(results).bind(NAME).fetch_all(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_keys_are_deleted_in_steps_that_a_held_snapshot_does_not_make_longer() -> Result<()> {
    let (database, clock) = (Database::new().await?, Clock::fixed(Clock::system().now()));
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Command];
        options.command.idempotency_retention_hours = 24;
        options.clock = clock.clone();
    })
    .await?;
    let pool = &system.database.pool;
    let registered = "select count(*) from messaging.schedules where name = 'idempotency_keys'";
    eventually_equal("the schedule is there", SOON, 1, async || count(pool, registered).await).await?;
    execute(pool, &keys(KEYS, "now() - interval '2 days'")).await?;
    execute(pool, &keys(7, "now()")).await?;
    // The statements of a large table use the index.
    execute(pool, "vacuum analyze command.idempotency_keys").await?;
    let snapshot = hold_snapshot(pool).await?;

    clock.advance(TimeDelta::minutes(10));
    let first = eventually("the run is done", SOON, async || Ok(results(pool).await?.into_iter().next())).await?;
    assert_eq!(first, json!({ "deleted": KEYS, "all": true }));
    // Of a column that is in no index, so that this is no scan of the index.
    assert_eq!(count(pool, "select count(request_hash) from command.idempotency_keys").await?, 7, "new keys stay");
    let read = entries_read(pool, KEYS).await?;
    assert!(read < KEYS + KEYS / 10, "no step walks over what the steps before it deleted: {read} entries");

    // Nor does a later run, in whichever process.
    execute(pool, &keys(100, "now() - interval '23 hours'")).await?;
    clock.advance(TimeDelta::hours(2));
    let second =
        eventually("the second run is done", SOON, async || Ok(results(pool).await?.into_iter().nth(1))).await?;
    assert_eq!(second, json!({ "deleted": 100, "all": true }));
    let more = entries_read(pool, KEYS + 100).await? - read;
    assert!(more < 200, "a run starts where the last one ended: {more} entries");
    snapshot.rollback().await?;
    // Not `finish`: no command wrote these keys.
    system.abandon().await
}
