//! Measures the system against the limits of this machine, in the same run, as ratios (DESIGN, section 9).
//!
//! - [`transitions`], [`placements`], [`reads`]: throughput over HTTP against `pgbench` without HTTP, and transitions against
//!   their own statement without HTTP;
//! - [`pdf`]: our renderer against a bare client ([`cdp`]);
//! - [`start_latency`], [`api_latency`], [`own_writes`]: latencies under a moderate load;
//! - [`mod@access`]: with an API key against without; [`slow_sockets`]: beside clients that never finish a request;
//! - [`traced`]: with recorded traces against without;
//! - [`audit_chain`]: with the chain of the audit against without;
//! - [`relay_rabbitmq`], [`relay_postgres`], [`relay_backlog`], [`relay_held_transaction`]: how fast the relay drains a
//!   [`backlog`], against a bare client ([`raw_amqp`]), against a bare statement, and against itself;
//! - [`rebuild`]: a rebuild of the read models, against one statement that makes half of them; [`reports`] over them;
//! - [`lists`]: a page of each list, over a million orders; [`live_events`]: webhooks and streams;
//! - [`inbox_drain`]: empty jobs against a bare statement;
//! - [`held_snapshot`]: everything at once, with a snapshot held open against without;
//! - [`bytes_per_life`]: what the life of an order writes;
//! - [`memory`]: the memory of each idle process;
//! - [`load`], [`traffic`], [`requests`], [`client`], [`slice`](mod@slice), [`settled`], [`snapshot`], [`sizes`], [`histogram`],
//!   [`operators`], [`figures`], [`pgbench`], [`system`], [`report`]: their tools.
//!
//! Three commands take long and are not part of the default run: [`years`], the queue with millions of settled events under a
//! snapshot; [`lives`], millions of orders through their whole lives; [`console`], its pages over millions of events.
//!
//! The servers run in this process, as in `standalone`, with their production settings. The load generator has a thread and
//! a runtime of its own: like `pgbench` it competes with the servers for the cores, but shares no scheduler with them.
//!
//! Invariant: no time is asserted. The benchmark fails only on an unexpected response, or when rows and responses differ.

mod transitions;
mod turns;
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
mod lists;
mod live_events;
mod memory;
mod own_writes;
mod access;
mod slow_sockets;
mod traced;
mod audit_chain;
mod held_snapshot;
mod bytes_per_life;
mod years;
mod lives;
mod console;
mod backlog;
mod raw_amqp;
mod load;
mod traffic;
mod requests;
mod client;
mod slice;
mod settled;
mod snapshot;
mod sizes;
mod histogram;
mod operators;
mod figures;
mod pgbench;
mod system;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use runtime::config::{LogFormat, TelemetryConfig};
use runtime::telemetry;

use report::{Report, Row};
use system::System;

/// Measures the system as ratios to the limits of this machine, prints them and writes them as JSON.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    long: Option<Long>,
    /// What to measure; default: everything
    #[arg(value_enum)]
    rows: Vec<Subject>,
    /// Seconds of each measured phase, after a warm-up of a quarter of that time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Little data and phases of two seconds: tests the benchmark, its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Folder for the results and, during the run, for the private services
    #[arg(long, default_value = "target/bench", global = true)]
    folder: PathBuf,
}

/// What takes long, and runs alone.
#[derive(Debug, Subcommand)]
enum Long {
    /// Millions of settled events, and ten minutes under a snapshot
    Years(years::Options),
    /// Millions of orders through their whole lives
    Lives(lives::Options),
    /// The pages and searches of the console over millions of events
    Console(console::Options),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Subject {
    Transitions,
    Placements,
    Reads,
    Pdf,
    StartLatency,
    ApiLatency,
    OwnWrites,
    Access,
    SlowSockets,
    Tracing,
    AuditChain,
    RelayRabbitmq,
    RelayPostgres,
    RelayBacklog,
    RelayHeldTransaction,
    HeldSnapshot,
    InboxDrain,
    Rebuild,
    Reports,
    Lists,
    LiveEvents,
    BytesPerLife,
    Memory,
}

/// The length of the phases and the amount of data.
#[derive(Debug, Clone, Copy)]
struct Plan {
    warm_up: Duration,
    measure: Duration,
    /// Orders that exist before a measurement starts.
    orders: u64,
    quick: bool,
}

impl Subject {
    /// The name on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Transitions => "transitions",
            Self::Placements => "placements",
            Self::Reads => "reads",
            Self::Pdf => "pdf",
            Self::StartLatency => "start-latency",
            Self::ApiLatency => "api-latency",
            Self::OwnWrites => "own-writes",
            Self::Access => "access",
            Self::SlowSockets => "slow-sockets",
            Self::Tracing => "tracing",
            Self::AuditChain => "audit-chain",
            Self::RelayRabbitmq => "relay-rabbitmq",
            Self::RelayPostgres => "relay-postgres",
            Self::RelayBacklog => "relay-backlog",
            Self::RelayHeldTransaction => "relay-held-transaction",
            Self::HeldSnapshot => "held-snapshot",
            Self::InboxDrain => "inbox-drain",
            Self::Rebuild => "rebuild",
            Self::Reports => "reports",
            Self::Lists => "lists",
            Self::LiveEvents => "live-events",
            Self::BytesPerLife => "bytes-per-life",
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

    /// The full amount of data, or a tenth of it in a quick run.
    const fn share(&self, full: u64) -> u64 {
        if self.quick { full / 10 } else { full }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    // The level is info, as in production, so spans are made and the audit gets its trace ids. Messages that would only
    // stand between the rows are off: seeds and checkpoints are slow statements by design.
    let log = TelemetryConfig {
        log_format: LogFormat::Pretty,
        log_filter: "info,embedded=warn,workers=warn,payment_gateway=warn,schedules=warn,outbox_relay::maintenance=warn,sqlx=error".to_owned(),
        traces: traced::export()?,
    };
    let telemetry = telemetry::init("bench", &log)?;
    let succeeded = match &cli.long {
        Some(Long::Years(options)) => years::run(&cli.folder, options).await.map(|()| true),
        Some(Long::Lives(options)) => lives::run(&cli.folder, options).await.map(|()| true),
        Some(Long::Console(options)) => console::run(&cli.folder, options).await.map(|()| true),
        None => run(&cli).await,
    };
    telemetry.shutdown();
    Ok(if succeeded? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(cli: &Cli) -> Result<bool> {
    let subjects = if cli.rows.is_empty() { Subject::value_variants() } else { &cli.rows };
    let plan = Plan::new(cli);
    let mut system = System::start(&cli.folder).await?;
    let mut report = Report::begin(&system, cli.quick).await?;
    for subject in subjects {
        match measure(*subject, &mut system, &plan).await {
            Ok(rows) => report.add(rows),
            Err(error) => report.fail(*subject, &error),
        }
    }
    report.write(&cli.folder)?;
    system.stop().await?;
    Ok(report.is_sound())
}

async fn measure(subject: Subject, system: &mut System, plan: &Plan) -> Result<Vec<Row>> {
    match subject {
        Subject::Transitions => transitions::measure(system, plan).await,
        Subject::Placements => placements::measure(system, plan).await,
        Subject::Reads => reads::measure(system, plan).await,
        Subject::Pdf => pdf::measure(system, plan).await,
        Subject::StartLatency => start_latency::measure(system, plan).await,
        Subject::ApiLatency => api_latency::measure(system, plan).await,
        Subject::OwnWrites => own_writes::measure(system, plan).await,
        Subject::Access => access::measure(system, plan).await,
        Subject::SlowSockets => slow_sockets::measure(system, plan).await,
        Subject::Tracing => traced::measure(system, plan).await,
        Subject::AuditChain => audit_chain::measure(system, plan).await,
        Subject::RelayRabbitmq => relay_rabbitmq::measure(system, plan).await,
        Subject::RelayPostgres => relay_postgres::measure(system, plan).await,
        Subject::RelayBacklog => relay_backlog::measure(system, plan).await,
        Subject::RelayHeldTransaction => relay_held_transaction::measure(system, plan).await,
        Subject::HeldSnapshot => held_snapshot::measure(system, plan).await,
        Subject::InboxDrain => inbox_drain::measure(system, plan).await,
        Subject::Rebuild => rebuild::measure(system, plan).await,
        Subject::Reports => reports::measure(system, plan).await,
        Subject::Lists => lists::measure(system, plan).await,
        Subject::LiveEvents => live_events::measure(system, plan).await,
        Subject::BytesPerLife => bytes_per_life::measure(system, plan).await,
        Subject::Memory => memory::measure(system, plan).await,
    }
}
