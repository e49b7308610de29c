//! `outbox-relay [run | status | stuck | show | replay | skip | release | jobs | retry | pause | resume | acts | schedules | audit | doctor]`

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, FromArgMatches, Subcommand};
use messaging::TransportConfig;
use outbox_relay::api::{self, ApiSettings};
use outbox_relay::cli;
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};
use runtime::process::Server;
use runtime::{Clock, Ids, Tasks, database, http, process};

const NAME: &str = "outbox-relay";
const ROLE: &str = "articurated_relay";
/// Longest wait for the work in hand when the process is asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// The relay as a process.
#[derive(Debug, Args)]
struct Run {
    /// Address to listen on.
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    bind_address: IpAddr,
    /// The operators' API, health and metrics.
    #[arg(long, env = "RELAY_PORT", default_value_t = 8003)]
    relay_port: u16,
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    limits: HttpLimits,
    #[command(flatten)]
    settings: outbox_relay::Settings,
    #[command(flatten)]
    api: ApiSettings,
    #[command(flatten)]
    telemetry: TelemetryConfig,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Forwards events until it is stopped (the default).
    Run(Box<Run>),
    #[command(flatten)]
    Operate(Box<cli::Command>),
}

#[tokio::main]
async fn main() -> ExitCode {
    match parse() {
        Action::Run(config) => {
            process::run(NAME, &config.telemetry, async |shutdown| {
                let start = async |tasks: &Tasks| start(&config, tasks).await;
                process::serve(NAME, &config.limits, DRAIN_WITHIN, shutdown, start).await
            })
            .await
        }
        Action::Operate(command) => cli::run(*command).await,
    }
}

/// The settings of `run` stand at the top level as well, so that the relay needs no word to start; they must not be
/// asked of the other commands.
fn parse() -> Action {
    let command = Action::augment_subcommands(Run::augment_args(clap::Command::new("outbox-relay")))
        .version(env!("CARGO_PKG_VERSION"))
        .about("ArtiCurated's outbox relay: forwards committed events to their consumers, and serves its operators")
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .subcommand_required(false)
        .arg_required_else_help(false);
    let matches = command.get_matches();
    let parsed = match matches.subcommand() {
        None => Run::from_arg_matches(&matches).map(|settings| Action::Run(Box::new(settings))),
        Some(_) => Action::from_arg_matches(&matches),
    };
    parsed.unwrap_or_else(|error| error.exit())
}

async fn start(config: &Run, tasks: &Tasks) -> Result<Server> {
    let listener = http::bind(SocketAddr::new(config.bind_address, config.relay_port), "RELAY_PORT").await?;
    let pool = database::connect(&config.database, Some(ROLE), NAME).await?;
    let clock = Clock::system();
    let name = format!("relay-{}", Ids::system().next());
    let mut checks = vec![Check::database(&pool)];
    checks.extend(messaging::rabbitmq::readiness(&config.transport));
    let retention_days = config.settings.retention_days;
    let transport = config.transport.clone();
    let operators = api::routes(&config.database, transport, config.api.clone(), retention_days, clock.clone()).await?;
    outbox_relay::start(&pool, &config.transport, &config.settings, &name, &clock, tasks);
    Ok(Server { listener, router: operators.merge(health::routes(checks)) })
}
