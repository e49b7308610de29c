//! The workers as a process.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Parser, Subcommand};
use messaging::TransportConfig;
use messaging::snapshots::{Pace, Republisher};
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};
use runtime::{Clock, Ids, Tasks};

/// ArtiCurated's workers: invoices, refunds, notifications.
#[derive(Debug, Parser)]
#[command(version)]
struct Config {
    /// Address to listen on, for health and metrics.
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
    /// Tells of every invoice, credit note and refund again through the outbox, for `query rebuild` after retention has dropped events.
    Snapshots(Pace),
}

/// Longest wait for the jobs in hand when the process is asked to stop; what is not done by then is taken over when
/// its lease expires.
const DRAIN: Duration = Duration::from_secs(45);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let telemetry = runtime::telemetry::init("workers", &config.telemetry)?;
    if let Some(Action::Snapshots(pace)) = config.action {
        return republish(&config.database, pace).await;
    }
    let listener =
        runtime::http::bind(SocketAddr::new(config.bind_address, config.workers_port), "WORKERS_PORT").await?;
    let pool = runtime::database::connect(&config.database, Some("articurated_workers"), "workers").await?;
    let tasks = Tasks::until_signal();
    let (clock, ids) = (Clock::system(), Ids::system());
    let name = format!("workers-{}", ids.next());
    let mut checks = vec![Check::database(&pool)];
    checks.extend(workers::start(&pool, &config.transport, &config.settings, &name, &clock, &ids, &tasks).await?);
    checks.extend(messaging::rabbitmq::readiness(&config.transport));
    let router = runtime::http::layered(health::routes(checks), "workers", &config.limits);
    runtime::http::serve(listener, router, tasks.shutdown.clone()).await?;
    let drained = tasks.drain(DRAIN).await;
    telemetry.shutdown();
    drained
}

async fn republish(database: &DatabaseConfig, Pace { per_second }: Pace) -> anyhow::Result<()> {
    let pool = runtime::database::connect(database, Some("articurated_workers"), "workers snapshots").await?;
    let republisher = Republisher { pool, clock: Clock::system(), ids: Ids::system(), per_second };
    let published = workers::snapshots::republish(&republisher).await?;
    println!("{published} snapshots are in the outbox.");
    Ok(())
}
