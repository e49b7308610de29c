//! What is settled and still in an index, under a held snapshot or until its partition goes, does not make each look longer.

use anyhow::Result;
use runtime::Ids;
use standalone::Part;
use tests::books::count;
use tests::events::{back_off, record};
use tests::old_entries::{hold_snapshot, reads_little};
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System};

const SETTLED: i64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_does_not_walk_over_the_exceptions_that_have_gone_out() -> Result<()> {
    let database = Database::new().await?;
    let mut backlog = database.pool.begin().await?;
    for _ in 0..SETTLED {
        record(&mut backlog, Ids::system().next(), 1).await?;
    }
    backlog.commit().await?;
    back_off(&database.pool, 0).await?;
    let snapshot = hold_snapshot(&database.pool).await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Relay];
        options.relay.shard_groups = 1;
    })
    .await?;
    let pool = &system.database.pool;
    let waiting = "select count(*) from messaging.outbox_exceptions";
    eventually_equal("all have gone out", SOON, 0, async || count(pool, waiting).await).await?;
    // The relay looks at least once a second.
    reads_little(pool, "outbox_exceptions_due", 2 * SETTLED).await?;
    snapshot.rollback().await?;
    // Not `finish`: no command wrote these.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_projector_does_not_walk_over_the_events_that_were_retried() -> Result<()> {
    let database = Database::new().await?;
    sqlx::query(
        "insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at, status, finished_at)
         select 'projections', messaging.new_id(), gen_random_uuid(), 1, clock_timestamp(), 'done', clock_timestamp()
         from generate_series(1, $1)",
    )
    .bind(SETTLED)
    .execute(&database.pool)
    .await?;
    let system = System::start_on(database, |options| options.parts = vec![Part::Query]).await?;
    // The projector looks once a second.
    reads_little(&system.database.pool, "inbox%run_at%", 2 * SETTLED).await?;
    system.abandon().await
}
