//! The workers as a process.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use messaging::TransportConfig;
use messaging::snapshots::{Pace, Republisher};
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};
use runtime::process::Server;
use runtime::{Clock, Ids, Tasks, database, http, process};

const NAME: &str = "workers";
const ROLE: &str = "articurated_workers";
/// Longest wait for the jobs in hand when the process is asked to stop. Another worker takes an unfinished job over
/// when its lease expires.
const DRAIN_WITHIN: Duration = Duration::from_secs(45);

/// ArtiCurated's workers: invoices, credit notes, refunds, notifications.
#[derive(Debug, Parser)]
#[command(version)]
struct Config {
    /// Address to listen on, for health, metrics and the gateway's callbacks.
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    bind_address: IpAddr,
    #[arg(long, env = "WORKERS_PORT", default_value_t = 8004)]
    workers_port: u16,
    #[command(flatten)]
    database: DatabaseConfig,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    limits: HttpLimits,
    #[command(flatten)]
    settings: workers::Settings,
    #[command(flatten)]
    telemetry: TelemetryConfig,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Republishes every invoice and credit note through the outbox, for `query rebuild` after retention has dropped events.
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
    let listener = http::bind(SocketAddr::new(config.bind_address, config.workers_port), "WORKERS_PORT").await?;
    let pool = database::connect_admitted(&config.database, ROLE, NAME, schema::admission_for_loops()).await?;
    let (clock, ids) = (Clock::system(), Ids::system());
    let name = format!("workers-{}", ids.next());
    let mut checks = vec![Check::database(&pool)];
    let (routes, own) = workers::start(&pool, &config.transport, &config.settings, &name, &clock, &ids, tasks).await?;
    checks.extend(own);
    checks.extend(messaging::rabbitmq::readiness(&config.transport));
    Ok(Server { listener, router: health::routes(checks).merge(routes) })
}

async fn republish(database: &DatabaseConfig, pace: &Pace) -> Result<()> {
    let pool = database::connect_admitted(database, ROLE, "workers snapshots", schema::admission()).await?;
    let republisher = Republisher { pool, clock: Clock::system(), ids: Ids::system(), per_second: pace.per_second };
    let published = workers::republish::republish(&republisher).await?;
    println!("{published} snapshots are in the outbox.");
    Ok(())
}
