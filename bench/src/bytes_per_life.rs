//! What one life of an order writes: bytes of the write-ahead log and of the tables, from the placement to the refund.
//!
//! A life is ten commands, a refund by the real worker and the mock gateway, and what relay, projector and inbox make of their
//! twelve events. Documents and e-mails have jobs, but no effect.
//!
//! After a checkpoint the first change of a page logs the whole page (`full_page_writes`). So the lives are measured twice: right
//! after a checkpoint, and again without another one. No checkpoint may begin in between, or the row fails.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;
use standalone::Part;

use crate::Plan;
use crate::load::Pace;
use crate::report::{Figure, Row};
use crate::settled::until_settled;
use crate::sizes::{LogCounters, TableBytes, log_bytes};
use crate::system::{Database, System};
use crate::traffic::{Traffic, Turn};

const LIVES: u64 = 4_000;
const CONNECTIONS: u32 = 16;
/// How long the idle system is watched: its leases and heartbeats write too.
const IDLE: Duration = Duration::from_secs(5);
/// How long the backends of a stopped system may take to end and to report their counters.
const REPORTED: Duration = Duration::from_secs(2);
const PARTS: [Part; 5] = [Part::Command, Part::Relay, Part::Workers, Part::Query, Part::Gateway];

/// What a number of lives has written.
#[derive(Debug, Serialize)]
struct Written {
    lives: u64,
    seconds: f64,
    /// By position in the log, from the first command to the last job.
    log_bytes: i64,
    /// From before the start of the system to after its end.
    counters: LogCounters,
    tables: TableBytes,
    idle_log_bytes_per_second: f64,
}

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let lives = plan.share(LIVES);
    let database = system.database("ours").await?;
    // The first lives make the first pages of every table and index.
    live(system, &database, lives / 10).await?;
    database.settle().await?;
    let fresh = live(system, &database, lives).await?;
    let later = live(system, &database, lives).await?;
    let refunds: i64 = sqlx::query_scalar("select count(*) from command.refunds where status = 'PROCESSED'")
        .fetch_one(&database.pool)
        .await?;
    ensure!(u64::try_from(refunds)? == lives / 10 + 2 * lives, "{refunds} refunds are processed");
    let unchanged = fresh.counters.checkpoint == later.counters.checkpoint;
    ensure!(unchanged, "a checkpoint began during the measurement");
    system.drop(database).await?;

    let bytes = vec![
        Figure::new("log", later.per_life(later.log_bytes)),
        Figure::new("log, fresh", fresh.per_life(fresh.log_bytes)),
        Figure::new("tables command", later.per_life(later.tables.command)),
        Figure::new("tables messaging", later.per_life(later.tables.messaging)),
        Figure::new("tables work", later.per_life(later.tables.work)),
        Figure::new("tables read", later.per_life(later.tables.read)),
    ];
    let records = vec![
        Figure::new("records", later.per_life(later.counters.records)),
        Figure::new("page images", later.per_life(later.counters.full_page_images)),
        Figure::new("fresh records", fresh.per_life(fresh.counters.records)),
        Figure::new("fresh images", fresh.per_life(fresh.counters.full_page_images)),
    ];
    let details = json!({ "right_after_a_checkpoint": fresh, "later": later });
    let what = format!("written per life of an order, {lives} lives; fresh: right after a checkpoint");
    Ok(vec![
        Row::figures(what, "B", bytes, details),
        Row::figures("records in the write-ahead log per life".to_owned(), "", records, json!({})),
    ])
}

/// Takes so many orders through their lives.
async fn live(system: &System, database: &Database, lives: u64) -> Result<Written> {
    let (counters, tables) = (LogCounters::now(database).await?, TableBytes::now(database).await?);
    let options = system.options_without_effects(database, &PARTS);
    let (seconds, written, idle) = System::run(options, async |address| {
        let (before, started) = (log_bytes(database).await?, Instant::now());
        let traffic = Traffic::new(address, CONNECTIONS, Pace::Closed, Turn::WholeLife);
        Traffic { orders: Some(lives), ..traffic }.start().end().await?;
        until_settled(database).await?;
        let (seconds, after) = (started.elapsed().as_secs_f64(), log_bytes(database).await?);
        tokio::time::sleep(IDLE).await;
        Ok((seconds, after - before, log_bytes(database).await? - after))
    })
    .await?;
    tokio::time::sleep(REPORTED).await;
    let (after, tables_after) = (LogCounters::now(database).await?, TableBytes::now(database).await?);
    Ok(Written {
        lives,
        seconds,
        log_bytes: written,
        counters: LogCounters {
            records: after.records - counters.records,
            full_page_images: after.full_page_images - counters.full_page_images,
            bytes: after.bytes - counters.bytes,
            checkpoint: after.checkpoint,
        },
        tables: TableBytes {
            command: tables_after.command - tables.command,
            messaging: tables_after.messaging - tables.messaging,
            work: tables_after.work - tables.work,
            read: tables_after.read - tables.read,
        },
        idle_log_bytes_per_second: per(idle, IDLE.as_secs_f64()),
    })
}

impl Written {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand lives")]
    fn per_life(&self, count: i64) -> f64 {
        per(count, self.lives as f64)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn per(count: i64, of: f64) -> f64 {
    count as f64 / of
}
