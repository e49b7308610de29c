//! The command service as a process.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Parser, Subcommand};
use messaging::snapshots::{Pace, Republisher};
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};
use runtime::{Clock, Ids, Tasks};

/// ArtiCurated's REST commands.
#[derive(Debug, Parser)]
#[command(version)]
struct Config {
    /// Address to listen on.
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    bind_address: IpAddr,
    #[arg(long, env = "COMMAND_PORT", default_value_t = 8001)]
    command_port: u16,
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    limits: HttpLimits,
    #[command(flatten)]
    settings: command::Settings,
    #[command(flatten)]
    telemetry: TelemetryConfig,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tells of every order and return again through the outbox, for `query rebuild` after retention has dropped events.
    Snapshots(Pace),
}

/// Longest wait for the work in hand when the process is asked to stop.
const DRAIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let telemetry = runtime::telemetry::init("command", &config.telemetry)?;
    if let Some(Action::Snapshots(pace)) = config.action {
        return republish(&config.database, pace).await;
    }
    let listener =
        runtime::http::bind(SocketAddr::new(config.bind_address, config.command_port), "COMMAND_PORT").await?;
    let pool = runtime::database::connect(&config.database, Some("articurated_command"), "command").await?;
    let tasks = Tasks::until_signal();
    let router = command::start(pool.clone(), &config.settings, Clock::system(), Ids::system(), &tasks)
        .merge(health::routes(vec![Check::database(&pool)]))
        .merge(runtime::docs::routes(contracts::API_SPECIFICATION));
    let router = runtime::http::layered(router, "command", &config.limits);
    runtime::http::serve(listener, router, tasks.shutdown.clone()).await?;
    let drained = tasks.drain(DRAIN).await;
    telemetry.shutdown();
    drained
}

async fn republish(database: &DatabaseConfig, Pace { per_second }: Pace) -> anyhow::Result<()> {
    let pool = runtime::database::connect(database, Some("articurated_command"), "command snapshots").await?;
    let republisher = Republisher { pool, clock: Clock::system(), ids: Ids::system(), per_second };
    let published = command::snapshots::republish(&republisher).await?;
    println!("{published} snapshots are in the outbox.");
    Ok(())
}
