//! The command service as a process.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use access::{Access, AccessSettings, ConsistencyKey};
use anyhow::Result;
use clap::{Parser, Subcommand};
use messaging::snapshots::{Pace, Republisher};
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};
use runtime::process::Server;
use runtime::{Clock, Ids, Tasks, database, docs, http, process};

const NAME: &str = "command";
const ROLE: &str = "articurated_command";
/// Longest wait for the work in hand when the process is asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

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
    access: AccessSettings,
    #[command(flatten)]
    settings: command::Settings,
    #[command(flatten)]
    telemetry: TelemetryConfig,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Republishes every order and return through the outbox, for `query rebuild` after retention has dropped events.
    Snapshots(Pace),
}

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = runtime::secrets::parse();
    process::run(NAME, &config.telemetry, async |shutdown| match &config.action {
        None => {
            let start = async |tasks: &Tasks| start(&config, tasks).await;
            process::serve(NAME, &config.limits, DRAIN_WITHIN, shutdown, start).await
        }
        Some(Action::Snapshots(pace)) => process::interruptible(&shutdown, republish(&config.database, pace)).await,
    })
    .await
}

async fn start(config: &Config, tasks: &Tasks) -> Result<Server> {
    let listener = http::bind(SocketAddr::new(config.bind_address, config.command_port), "COMMAND_PORT").await?;
    let pool = database::connect_admitted(&config.database, ROLE, NAME, schema::admission()).await?;
    let clock = Clock::system();
    let access = Access::start(&config.access, config.bind_address, &pool, &clock, tasks).await?;
    let key = ConsistencyKey::load(&pool).await?;
    let router = command::start(pool.clone(), &config.settings, clock, Ids::system(), &access, key, tasks)?
        .merge(health::routes(vec![Check::database(&pool)]))
        .merge(docs::routes(contracts::API_SPECIFICATION));
    Ok(Server { listener, router })
}

async fn republish(database: &DatabaseConfig, pace: &Pace) -> Result<()> {
    let pool = database::connect_admitted(database, ROLE, "command snapshots", schema::admission()).await?;
    let republisher = Republisher { pool, clock: Clock::system(), ids: Ids::system(), per_second: pace.per_second };
    let published = command::republish(&republisher).await?;
    println!("{published} snapshots are in the outbox.");
    Ok(())
}
