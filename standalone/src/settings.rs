//! The command line and the environment.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, Command, Parser, Subcommand, ValueEnum};
use messaging::TransportConfig;
use runtime::config::{TelemetryConfig, TracesConfig, secret};
use secrecy::SecretString;

/// ArtiCurated's order and returns management, all processes in one.
///
/// The settings of each process come from the environment, under the same names as in its own process.
#[derive(Debug, Parser)]
#[command(name = "standalone", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub action: Option<Action>,
    #[command(flatten)]
    pub run: Run,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Runs everything in one process (the default)
    Run(Box<Run>),
    /// Plays a file of orders on an empty private database and checks the results
    Demo(Demo),
    /// Migrates the schema of `DATABASE_URL`
    Migrate(Migrate),
    /// Prints API-SPECIFICATION.yml
    Openapi,
    /// Prints docs/asyncapi.yml
    Asyncapi,
}

/// How events get from the outbox to the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// The queue in Postgres
    Postgres,
    /// The broker that `RABBITMQ_URL` names, or a private one
    Rabbitmq,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Default: a private Postgres under `DATA_DIR`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret)]
    pub database_url: Option<SecretString>,
    /// Folder of the private services
    #[arg(long, env = "DATA_DIR", default_value = ".data")]
    pub data_dir: PathBuf,
    /// Port of the private Postgres; default: a free one, which stays the same
    #[arg(long, env = "POSTGRES_PORT")]
    pub postgres_port: Option<u16>,
    /// Default: rabbitmq if `RABBITMQ_URL` is set, else postgres
    #[arg(long, env = "TRANSPORT", value_enum)]
    pub transport: Option<Transport>,
    #[command(flatten)]
    pub rabbitmq: TransportConfig,
    /// Address to listen on
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// Port of commands, queries, health, metrics and documentation
    #[arg(long, env = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// Port of the mock payment gateway
    #[arg(long, env = "GATEWAY_PORT", default_value_t = 9000)]
    pub gateway_port: u16,
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

impl Run {
    /// `None` for the Postgres queue; without a URL a private broker.
    pub fn broker(&self) -> Option<TransportConfig> {
        let named = self.rabbitmq.rabbitmq_url.is_some();
        let chosen = self.transport.unwrap_or(if named { Transport::Rabbitmq } else { Transport::Postgres });
        (chosen == Transport::Rabbitmq).then(|| self.rabbitmq.clone())
    }
}

#[derive(Debug, Args)]
pub struct Demo {
    /// The orders and their steps
    pub file: PathBuf,
    #[arg(long, env = "TRANSPORT", value_enum, default_value = "postgres")]
    pub transport: Transport,
    /// Parent of the demo's own folder, `demo`, which is emptied at the start
    #[arg(long, env = "DATA_DIR", default_value = ".data")]
    pub data_dir: PathBuf,
    /// Log filter; quieter than elsewhere, because the demo prints its own progress
    #[arg(long, env = "LOG", default_value = "warn,sqlx=error")]
    pub log: String,
    #[command(flatten)]
    pub traces: TracesConfig,
}

#[derive(Debug, Args)]
pub struct Migrate {
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = secret)]
    pub database_url: SecretString,
    /// The database of the read models, if they have their own
    #[arg(long, env = "QUERY_DATABASE_URL", hide_env_values = true, value_parser = secret)]
    pub query_database_url: Option<SecretString>,
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

/// The settings of one process, from the environment only.
///
/// They are not flattened into one command line, because two processes share some of them (`RETURN_WINDOW_DAYS`) and a command
/// line has each name once.
pub fn from_environment<T: Args>() -> Result<T> {
    let command = runtime::secrets::with_files(T::augment_args(Command::new("standalone")));
    let matches = command.and_then(|command| command.try_get_matches_from(["standalone"]));
    let settings = matches.and_then(|matches| T::from_arg_matches(&matches));
    settings.map_err(|error| {
        let text = error.to_string();
        anyhow!("{}", text.lines().next().unwrap_or_default().trim_start_matches("error: "))
    })
}
