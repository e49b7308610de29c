//! Measures the system against the limits of the machine it runs on, in the same run, as ratios (DESIGN, section 9).
//!
//! - [`transitions`], [`placements`], [`reads`]: throughput over HTTP against `pgbench` without HTTP;
//! - [`pdf`]: our renderer against a bare client ([`cdp`]);
//! - [`start_latency`], [`api_latency`]: how long things take under a moderate load;
//! - [`relay_rabbitmq`], [`relay_postgres`], [`relay_backlog`], [`relay_held_transaction`]: how fast a [`backlog`] goes
//!   out, against a bare client ([`raw_amqp`]), against a bare statement, and against itself;
//! - [`rebuild`]: the read models made again, against one statement that makes half of them; [`reports`] of them;
//! - [`inbox_drain`]: jobs that do nothing against a bare statement;
//! - [`memory`]: what each process holds when it has nothing to do;
//! - [`load`], [`requests`], [`pgbench`], [`system`], [`report`]: what they are made with.
//!
//! The servers run in this process, as `standalone` runs them, with the settings they have in production. The load
//! generator runs on a thread and a runtime of its own, so that it competes with them for the cores as `pgbench`
//! competes with Postgres, and shares no scheduler with them.
//!
//! Invariant: no time is asserted. It fails only when something is broken: an answer that is not the expected one, or
//! rows that do not match the answers.

mod transitions;
mod placements;
mod reads;
mod pdf;
mod cdp;
mod start_latency;
mod api_latency;
mod relay_rabbitmq;
mod relay_postgres;
mod relay_backlog;
mod relay_held_transaction;
mod inbox_drain;
mod rebuild;
mod reports;
mod memory;
mod backlog;
mod raw_amqp;
mod load;
mod requests;
mod pgbench;
mod system;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use runtime::config::{LogFormat, TelemetryConfig};
use runtime::telemetry;

use report::{Report, Row};
use system::System;

/// Ratios against the limits of this machine, printed and written as JSON.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// What to measure; all of it when nothing is named.
    #[arg(value_enum)]
    rows: Vec<Subject>,
    /// Length of each measured phase. A quarter of it comes before as a warm-up.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Little data and phases of two seconds: shows that the benchmark works, not how fast anything is.
    #[arg(long)]
    quick: bool,
    /// Folder for `results.json` and, during the run, for the private services.
    #[arg(long, default_value = "target/bench")]
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Subject {
    Transitions,
    Placements,
    Reads,
    Pdf,
    StartLatency,
    ApiLatency,
    RelayRabbitmq,
    RelayPostgres,
    RelayBacklog,
    RelayHeldTransaction,
    InboxDrain,
    Rebuild,
    Reports,
    Memory,
}

/// How long and with how much.
#[derive(Debug, Clone, Copy)]
struct Plan {
    warm_up: Duration,
    measure: Duration,
    /// Orders that are there before a measurement begins.
    orders: u64,
    quick: bool,
}

impl Subject {
    /// As on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Transitions => "transitions",
            Self::Placements => "placements",
            Self::Reads => "reads",
            Self::Pdf => "pdf",
            Self::StartLatency => "start-latency",
            Self::ApiLatency => "api-latency",
            Self::RelayRabbitmq => "relay-rabbitmq",
            Self::RelayPostgres => "relay-postgres",
            Self::RelayBacklog => "relay-backlog",
            Self::RelayHeldTransaction => "relay-held-transaction",
            Self::InboxDrain => "inbox-drain",
            Self::Rebuild => "rebuild",
            Self::Reports => "reports",
            Self::Memory => "memory",
        }
    }
}

impl Plan {
    fn new(cli: &Cli) -> Self {
        let measure = Duration::from_secs(if cli.quick { 2 } else { cli.seconds });
        let orders = if cli.quick { 10_000 } else { 100_000 };
        Self { warm_up: measure / 4, measure, orders, quick: cli.quick }
    }

    /// As much data as wanted, or a little of it.
    const fn share(&self, wanted: u64) -> u64 {
        if self.quick { wanted / 10 } else { wanted }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    // Information is on, as in production: spans are made and the audit gets its trace ids. What would only stand
    // between the rows is off: seeds and checkpoints are slow statements by design.
    let log = TelemetryConfig {
        log_format: LogFormat::Pretty,
        log_filter: "info,embedded=warn,workers=warn,sqlx=error".to_owned(),
        ..TelemetryConfig::default()
    };
    let telemetry = telemetry::init("bench", &log)?;
    let succeeded = run(&cli).await;
    telemetry.shutdown();
    Ok(if succeeded? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(cli: &Cli) -> Result<bool> {
    let subjects = if cli.rows.is_empty() { Subject::value_variants() } else { &cli.rows };
    let plan = Plan::new(cli);
    let system = System::start(&cli.folder).await?;
    let mut report = Report::begin(&system, cli.quick).await?;
    for subject in subjects {
        match measure(*subject, &system, &plan).await {
            Ok(rows) => report.add(rows),
            Err(error) => report.fail(*subject, &error),
        }
    }
    report.write(&cli.folder)?;
    system.stop().await?;
    Ok(report.is_sound())
}

async fn measure(subject: Subject, system: &System, plan: &Plan) -> Result<Vec<Row>> {
    match subject {
        Subject::Transitions => transitions::measure(system, plan).await,
        Subject::Placements => placements::measure(system, plan).await,
        Subject::Reads => reads::measure(system, plan).await,
        Subject::Pdf => pdf::measure(system, plan).await,
        Subject::StartLatency => start_latency::measure(system, plan).await,
        Subject::ApiLatency => api_latency::measure(system, plan).await,
        Subject::RelayRabbitmq => relay_rabbitmq::measure(system, plan).await,
        Subject::RelayPostgres => relay_postgres::measure(system, plan).await,
        Subject::RelayBacklog => relay_backlog::measure(system, plan).await,
        Subject::RelayHeldTransaction => relay_held_transaction::measure(system, plan).await,
        Subject::InboxDrain => inbox_drain::measure(system, plan).await,
        Subject::Rebuild => rebuild::measure(system, plan).await,
        Subject::Reports => reports::measure(system, plan).await,
        Subject::Memory => memory::measure(system, plan).await,
    }
}
