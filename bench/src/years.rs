//! The queue after years: statements, commands and reads over millions of settled events, while a snapshot of `pg_dump`'s kind is
//! held open for minutes. Not part of the default run.
//!
//! - [`settled_events`]: ten million events that have gone through forward, claim and complete;
//! - [`minute`]: what is measured in one minute; [`statements`]: each loop's statements, as the server measures them;
//! - [`batches`]: a hundred small batches per second.
//!
//! The stages: orders over HTTP without and with the snapshot, A B A B; small batches under the snapshot; reads of own writes at
//! 700 orders/s, without and with it. Each stage begins with a minute without the snapshot. The last minute is compared with that
//! one and with the first one of the stage.

mod settled_events;
mod minute;
mod statements;
mod batches;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use messaging::RetentionConfig;
use serde_json::{Value, json};
use standalone::Part;

use crate::figures::{Figures, compare};
use crate::load::{Latencies, Pace};
use crate::operators::Operators;
use crate::snapshot::Snapshot;
use crate::system::{Database, System};
use crate::traffic::{self, Traffic, Turn};
use crate::{own_writes, report};

use batches::Batches;
use minute::{Source, Watch};

/// Five commands each: 1,100 events/s.
const ORDERS_PER_SECOND: f64 = 220.0;
const CONNECTIONS: u32 = 32;
/// Jobs at a time in each of the two queues that have jobs. They do nothing.
const SLOTS: u16 = 32;
/// With partitions of less than a day, retention runs every minute and not every hour. The partitions themselves are those of
/// the default, which exist already.
const RETENTION: RetentionConfig =
    RetentionConfig { keep: Duration::from_secs(90 * 86_400), partition_width: Some(Duration::from_secs(43_200)) };
const PARTS: [Part; 4] = [Part::Command, Part::Relay, Part::Workers, Part::Query];
/// What is printed after each minute.
const SHOWN: [&str; 11] = [
    "commands /s",
    "batches /s",
    "own-write read p50 ms",
    "own-write read p99 ms",
    "append p99 ms",
    "events relayed /s",
    "jobs done /s",
    "events pending",
    "relay: forward mean ms",
    "workers: claim mean ms",
    "doctor mean ms",
];

/// The queue after years, for an hour and a half.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Settled events that the database is to have
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    events: u64,
    /// Minutes of each stage; the stage of own writes has half as many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    minutes: u32,
    /// Seconds that count as a minute; fewer test the benchmark, and the figures mean nothing
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=60))]
    minute_seconds: u64,
    /// Which stages to run; all, if none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Traffics>,
    /// Folder for the database, which stays there: the next run with it starts from its settled events
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// The traffic of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Traffics {
    Orders,
    Batches,
    OwnWrites,
}

/// What a stage has measured, minute by minute. The first minute has no snapshot.
struct Stage {
    name: String,
    minutes: Vec<Figures>,
}

/// Runs everything; writes `years.json`.
pub(crate) async fn run(folder: &Path, options: &Options) -> Result<()> {
    System::run_long(folder, options.keep.as_deref(), "years.json", async |system| measure(system, options).await).await
}

async fn measure(system: &System, options: &Options) -> Result<Value> {
    let circumstances = report::circumstances(system, options.minute_seconds < 60).await?;
    let sample = system.small_sample_order().await?;
    let database = system.kept_database("years").await?;
    sqlx::raw_sql("create extension if not exists pg_stat_statements").execute(&database.pool).await?;
    let left = System::run(services(system, &database), async |_| {
        settled_events::make(&database, &sample, options.events).await
    })
    .await?;
    settled_events::check(&database).await?;
    sqlx::raw_sql("vacuum analyze").execute(&database.pool).await?;
    database.settle().await?;

    let watch = Watch {
        operators: Operators::new(&database, RETENTION).await?,
        minute: Duration::from_secs(options.minute_seconds),
        database: &database,
    };
    let stages =
        System::run(services(system, &database), async |address| stages(&watch, &sample, address, options).await)
            .await?;
    settled_events::check(&database).await?;
    let not_flat = summary(&stages);
    let stages = stages.iter().map(
        |stage| json!({ "stage": stage.name, "minutes": stage.minutes.iter().map(Figures::json).collect::<Vec<_>>() }),
    );
    Ok(json!({
        "circumstances": circumstances, "settled_events": options.events, "left_by_earlier_runs": left,
        "minutes": options.minutes, "minute_seconds": options.minute_seconds, "not_flat": not_flat,
        "stages": stages.collect::<Vec<_>>(),
    }))
}

fn services(system: &System, database: &Database) -> standalone::Options {
    let mut options = system.options_without_effects(database, &PARTS);
    options.relay.retention = RETENTION;
    (options.workers.invoice_slots, options.workers.notification_slots) = (SLOTS, SLOTS);
    options
}

async fn stages(watch: &Watch<'_>, sample: &Value, address: SocketAddr, options: &Options) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    let wanted = |traffic| options.only.is_empty() || options.only.contains(&traffic);
    let traffic = |turn, connections, per_second| Traffic::new(address, connections, Pace::Open { per_second }, turn);
    if wanted(Traffics::Orders) {
        let orders = traffic(Turn::UntilDelivered, CONNECTIONS, ORDERS_PER_SECOND).start();
        tokio::time::sleep(watch.minute / 4).await;
        for (name, held) in
            [("orders A1", false), ("orders B1, snapshot", true), ("orders A2", false), ("orders B2, snapshot", true)]
        {
            stages.push(stage(watch, &orders, name, held, options.minutes).await?);
        }
        orders.stop().await?;
    }
    if wanted(Traffics::Batches) {
        let batches = Batches::start(watch.database, sample).await?;
        tokio::time::sleep(watch.minute / 4).await;
        let name = format!("{} batches/s, snapshot", batches::PER_SECOND);
        stages.push(stage(watch, &batches, &name, true, options.minutes).await?);
        batches.stop(watch.database).await?;
    }
    if wanted(Traffics::OwnWrites) {
        let own_writes = traffic(Turn::OwnWrite, own_writes::CONNECTIONS, own_writes::PER_SECOND).start();
        tokio::time::sleep(watch.minute / 4).await;
        let name = format!("own writes at {}/s", own_writes::PER_SECOND);
        let half = options.minutes.div_ceil(2);
        stages.push(stage(watch, &own_writes, &format!("{name} A"), false, half).await?);
        stages.push(stage(watch, &own_writes, &format!("{name} B, snapshot"), true, half).await?);
        own_writes.stop().await?;
    }
    // What the last stage has made is part of what is checked at the end.
    crate::settled::until_settled(watch.database).await?;
    Ok(stages)
}

/// A minute without the snapshot, and then the minutes with it, or without if it is not to be `held`.
async fn stage(watch: &Watch<'_>, source: &dyn Source, name: &str, held: bool, minutes: u32) -> Result<Stage> {
    println!("\n{name}");
    let mut stage = Stage { name: name.to_owned(), minutes: Vec::new() };
    let mut snapshot = None;
    for number in 0..=minutes {
        if number == 1 && held {
            snapshot = Some(Snapshot::open(&watch.database.url).await?);
        }
        let figures = watch.minute(source).await.with_context(|| format!("{name}, minute {number}"))?;
        println!("  minute {number}: {}", figures.line(&SHOWN));
        stage.minutes.push(figures);
    }
    if let Some(snapshot) = snapshot {
        snapshot.close().await?;
    }
    Ok(stage)
}

/// Prints a table for each stage, and returns what is not flat in it.
fn summary(stages: &[Stage]) -> Vec<Value> {
    let mut all = Vec::new();
    for Stage { name, minutes } in stages {
        let [before, first, .., last] = minutes.as_slice() else {
            // A stage of one minute has no first minute beside its last.
            if let [before, last] = minutes.as_slice() {
                let (table, not_flat) = compare(&[("before", before), ("last", last)]);
                println!("\n{name}\n{table}");
                all.push(json!({ "stage": name, "not_flat": not_flat }));
            }
            continue;
        };
        let (table, not_flat) = compare(&[("before", before), ("first", first), ("last", last)]);
        println!("\n{name}\n{table}");
        all.push(json!({ "stage": name, "not_flat": not_flat }));
    }
    println!("\nNot flat (a time more than doubled, a rate below 0.95):");
    for stage in &all {
        println!("  {}: {}", stage["stage"], stage["not_flat"]);
    }
    all
}

impl Source for traffic::Running {
    fn clear(&self) -> Result<()> {
        self.take()?;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
    fn figures(&self, seconds: f64) -> Result<Figures> {
        let tally = self.take()?;
        let mut figures = Figures::default();
        figures.note("commands /s", tally.commands.len() as f64 / seconds);
        figures.note("refused reads", tally.refused as f64);
        for (name, times) in [("command", tally.commands), ("own-write read", tally.reads)] {
            let latencies = Latencies::new(times)?;
            figures.note(format!("{name} p50 ms"), latencies.per_mille(500));
            figures.note(format!("{name} p99 ms"), latencies.per_mille(990));
        }
        Ok(figures)
    }
}
