//! `ops [run | status | stuck | show | order | replay | skip | release | jobs | retry | discard | pause | resume | actions | schedules | run-schedule | keys |
//! customer | audit | seal | doctor | completions SHELL]`

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use access::{Access, AccessSettings};
use anyhow::Result;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};
use clap_complete::Shell;
use colorchoice_clap::Color;
use messaging::{RetentionConfig, TransportConfig};
use operations::Shared;
use operations::api;
use operations::audit::Sources;
use operations::cli;
use operations::console::{self, ConsoleSettings};
use operations::doctor::Surroundings;
use operations::figures;
use operations::mcp::{self, McpSettings};
use operations::seal::{self, SealSettings};
use operations::write::bulk;
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};
use runtime::process::Server;
use runtime::{Clock, Tasks, database, http, process};

const NAME: &str = "operations";
/// Longest wait for the work in hand when the process is asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// The operators' API as a process.
#[derive(Debug, Args)]
struct Run {
    /// Address to listen on.
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    bind_address: IpAddr,
    /// The operators' API, health and metrics.
    #[arg(long, env = "OPS_PORT", default_value_t = 8003)]
    ops_port: u16,
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    retention: RetentionConfig,
    #[command(flatten)]
    limits: HttpLimits,
    #[command(flatten)]
    access: AccessSettings,
    #[command(flatten)]
    sources: Sources,
    /// Whether webhooks may go to private addresses and over plain HTTP; as for the workers, which send them
    #[arg(long, env = "WEBHOOK_ALLOW_PRIVATE", default_value_t = false, action = clap::ArgAction::Set)]
    webhook_allow_private: bool,
    #[command(flatten)]
    console: ConsoleSettings,
    #[command(flatten)]
    mcp: McpSettings,
    #[command(flatten)]
    seal: SealSettings,
    #[command(flatten)]
    telemetry: TelemetryConfig,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Serves the operators' API until it is stopped (the default).
    Run(Box<Run>),
    #[command(flatten)]
    Operate(Box<cli::Command>),
    /// Prints a script with which a shell completes commands, options, queues and states
    Completions { shell: Shell },
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
        Action::Completions { shell } => {
            clap_complete::generate(shell, &mut command(), "ops", &mut io::stdout());
            ExitCode::SUCCESS
        }
    }
}

/// The settings of `run` are also accepted without the word, so that `ops` alone serves. The other commands must not
/// ask for them.
fn command() -> clap::Command {
    Action::augment_subcommands(Run::augment_args(Color::augment_args(clap::Command::new("ops"))))
        .version(env!("CARGO_PKG_VERSION"))
        .about("ArtiCurated's operations: what operators see and do, on the command line and over HTTP")
        .subcommand_negates_reqs(true)
        .subcommand_required(false)
        .arg_required_else_help(false)
        .mut_arg("color", |color| {
            color
                .help("Whether what is printed has colours; unset: on a terminal")
                .hide_default_value(true)
                .display_order(1_000)
        })
}

fn parse() -> Action {
    let matches = runtime::secrets::matches(command()).unwrap_or_else(|error| error.exit());
    let parsed = match matches.subcommand() {
        None => Run::from_arg_matches(&matches).map(|settings| Action::Run(Box::new(settings))),
        Some((name, _)) => before_subcommand(&matches, name).and_then(|()| Action::from_arg_matches(&matches)),
    };
    let action = parsed.unwrap_or_else(|error| error.exit());
    Color::from_arg_matches(&matches).unwrap_or_default().write_global();
    action
}

/// A setting of `run` before another command would have no effect. Only `--color` is for all of them.
fn before_subcommand(matches: &ArgMatches, name: &str) -> Result<(), clap::Error> {
    let mut command = command();
    let given = |id: &str| id != "color" && matches.value_source(id) == Some(ValueSource::CommandLine);
    let setting = command.get_arguments().find(|argument| given(argument.get_id().as_str()));
    let Some(setting) = setting.and_then(clap::Arg::get_long) else { return Ok(()) };
    let message = format!("--{setting} has no effect before the command {name}: it is a setting of `ops run`");
    Err(command.error(ErrorKind::ArgumentConflict, message))
}

async fn start(config: &Run, tasks: &Tasks) -> Result<Server> {
    let listener = http::bind(SocketAddr::new(config.bind_address, config.ops_port), "OPS_PORT").await?;
    let pool = database::connect_admitted(&config.database, operations::ROLE, NAME, schema::admission()).await?;
    let checks = vec![Check::database(&pool)];
    let (transport, retention) = (config.transport.clone(), config.retention);
    let clock = Clock::system();
    let access = Access::start(&config.access, config.bind_address, &pool, &clock, tasks).await?;
    seal::start(&config.seal, config.sources.seal_store_url.as_deref(), &pool, &clock, tasks).await?;
    bulk::run(&pool, tasks);
    figures::run(&pool, tasks);
    let surroundings = Surroundings { transport, retention, clock };
    let shared = Shared::new(pool, config.sources.clone(), surroundings, config.webhook_allow_private);
    let pages = console::routes(shared.clone(), &access, config.console.clone(), tasks).await?;
    let tools = mcp::routes(shared.clone(), &access, &config.mcp, &config.limits);
    let router = api::routes(shared, &access).merge(pages).merge(tools).merge(health::routes(checks));
    Ok(Server { listener, router })
}
