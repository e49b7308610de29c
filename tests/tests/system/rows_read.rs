//! What a loop reads does not grow with what the tables hold.
//!
//! Postgres has no statistics of a new table or partition, and no statement waits until it has. So these tests never let it make any.

use std::collections::BTreeMap;

use anyhow::Result;
use contracts::ReturnState;
use futures_util::future::try_join_all;
use messaging::TransportConfig;
use sqlx::{AssertSqlSafe, PgConnection};
use standalone::Part;
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, eventually, shop};
use tokio::sync::Mutex;

/// Orders with a completed return, which run at the same time: ten commands each, and jobs in each queue.
const LIVES: usize = 20;
const BATCHES_BEFORE: usize = 10;
const BATCHES: usize = 4;
/// Rows of one table that are read for each event, by all programs together. A loop that reads a whole table or partition reads
/// hundreds.
const MOST_ROWS_PER_EVENT: f64 = 60.0;

/// Of thousands: by all questions of gauges and retention together, when nothing is open.
const MOST_ROWS_PER_QUESTION: f64 = 400.0;

/// Rows read, by table. The partitions of a table count as one.
type Rows = BTreeMap<String, f64>;

/// `pg_stat_user_tables` has what was read so far, `pg_stat_xact_user_tables` what this transaction has read.
async fn rows_read(connection: &mut PgConnection, view: &str) -> Result<Rows> {
    let rows = format!(
        "select schemaname || '.' || regexp_replace(relname, '_\\d{{8}}t\\d{{6}}$', ''),
                sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::float8
         from {view} where schemaname in ('command', 'messaging', 'work', 'read') group by 1"
    );
    Ok(sqlx::query_as::<_, (String, f64)>(AssertSqlSafe(rows)).fetch_all(connection).await?.into_iter().collect())
}

/// What the test itself has read.
#[derive(Default)]
struct Own(Mutex<Rows>);

impl Own {
    /// Takes orders through their lives, all at once, and waits for what follows.
    async fn live(&self, system: &System) -> Result<()> {
        try_join_all((0..LIVES).map(|_| shop::return_in(&system.api, ReturnState::Completed))).await?;
        eventually_equal("everything is settled", SOON, 0, async || {
            let mut looking = system.database.pool.begin().await?;
            let open: i64 = sqlx::query_scalar(
                "select (select count(*) from messaging.inbox where status <> 'done')
                      + (select count(*) from messaging.pending_events)
                      + (select count(*) from command.returns)
                      - (select count(*) from command.refunds where status = 'PROCESSED')",
            )
            .fetch_one(&mut *looking)
            .await?;
            let mut own = self.0.lock().await;
            for (table, rows) in rows_read(&mut looking, "pg_stat_xact_user_tables").await? {
                *own.entry(table).or_default() += rows;
            }
            // The statistics have it when the transaction ends, and not a second later.
            sqlx::query("select pg_stat_force_next_flush()").execute(&mut *looking).await?;
            looking.commit().await?;
            Ok(open)
        })
        .await
    }

    /// Rows that the system has read so far, and its events.
    async fn seen(&self, system: &System) -> Result<(Rows, i64)> {
        let pool = &system.database.pool;
        let mut rows = rows_read(&mut *pool.acquire().await?, "pg_stat_user_tables").await?;
        for (table, own) in self.0.lock().await.iter() {
            *rows.entry(table.clone()).or_default() -= own;
        }
        let events = books::count(pool, "select last_value from messaging.outbox_position_seq").await?;
        Ok((rows, events))
    }
}

/// What the gauges of the relay and its retention read: once each.
async fn questions(system: &System) -> Result<Rows> {
    let mut asking = system.database.pool.begin().await?;
    sqlx::raw_sql(schema::admission_for_loops()).execute(&mut *asking).await?;
    for question in [
        "select * from messaging.queue_backlog",
        "select * from messaging.outbox_backlog",
        include_str!("../../../bench/sql/retention.sql"),
    ] {
        sqlx::raw_sql(question).execute(&mut *asking).await?;
    }
    rows_read(&mut asking, "pg_stat_xact_user_tables").await
}

async fn check(transport: TransportConfig) -> Result<()> {
    let system = System::start(|options| {
        options.parts = Part::ALL.to_vec();
        options.workers.chooses = Some(|_| false);
        options.transport = transport;
    })
    .await?;
    let without_statistics = "do $$ declare name regclass; begin
        for name in select oid from pg_class where relkind = 'r' and relnamespace::regnamespace::text in ('command', 'messaging', 'work', 'read')
        loop execute format('alter table %s set (autovacuum_enabled = off)', name); end loop; end $$";
    sqlx::raw_sql(without_statistics).execute(&system.database.pool).await?;
    let own = Own::default();
    for _ in 0..BATCHES_BEFORE {
        own.live(&system).await?;
    }
    let (rows_before, events_before) = own.seen(&system).await?;
    for _ in 0..BATCHES {
        own.live(&system).await?;
    }
    let (rows, events) = own.seen(&system).await?;
    let events = f64::from(i32::try_from(events - events_before)?);
    let per_event = |(table, rows): (String, f64)| {
        let before = rows_before.get(&table).unwrap_or(&0.0);
        ((rows - before) / events, table)
    };
    let mut read: Vec<_> = rows.into_iter().map(per_event).filter(|(rows, _)| *rows > 0.0).collect();
    read.sort_by(|a, b| b.0.total_cmp(&a.0));
    let most = read.first().map_or(0.0, |(rows, _)| *rows);
    assert!(most < MOST_ROWS_PER_EVENT, "rows read per event: {read:#?}");
    // They read what came since the workers renewed their leases and the relay stored its marks, a few seconds ago.
    eventually("gauges and retention read few rows", SOON, async || {
        Ok(questions(&system).await?.values().all(|rows| *rows < MOST_ROWS_PER_QUESTION).then_some(()))
    })
    .await?;
    // The audit would miss the documents.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_loop_reads_more_when_the_tables_hold_more() -> Result<()> {
    check(TransportConfig::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_loop_reads_more_through_rabbitmq_either() -> Result<()> {
    let broker = Broker::new().await?;
    check(broker.transport()).await
}
