//! The relay as a process.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Parser;
use messaging::TransportConfig;
use runtime::Tasks;
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};

/// ArtiCurated's outbox relay: forwards committed events to their consumers.
#[derive(Debug, Parser)]
#[command(version)]
struct Config {
    /// Address to listen on, for health and metrics.
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    bind_address: IpAddr,
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
    telemetry: TelemetryConfig,
}

/// Longest wait for the work in hand when the process is asked to stop.
const DRAIN: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let telemetry = runtime::telemetry::init("outbox-relay", &config.telemetry)?;
    let listener = runtime::http::bind(SocketAddr::new(config.bind_address, config.relay_port), "RELAY_PORT").await?;
    let pool = runtime::database::connect(&config.database, Some("articurated_relay"), "outbox-relay").await?;
    let tasks = Tasks::until_signal();
    let name = format!("relay-{}", runtime::Ids::system().next());
    let mut checks = vec![Check::database(&pool)];
    checks.extend(messaging::rabbitmq::readiness(&config.transport));
    outbox_relay::start(&pool, config.transport, config.settings, &name, &tasks);
    let router = runtime::http::layered(health::routes(checks), "outbox-relay", &config.limits);
    runtime::http::serve(listener, router, tasks.shutdown.clone()).await?;
    let drained = tasks.drain(DRAIN).await;
    telemetry.shutdown();
    drained
}
