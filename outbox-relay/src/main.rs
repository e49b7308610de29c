//! The relay as a process.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use messaging::TransportConfig;
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::{self, Check};
use runtime::process::Server;
use runtime::{Clock, Ids, Tasks, database, http, process};

const NAME: &str = "outbox-relay";
const ROLE: &str = "articurated_relay";
/// Longest wait for the work in hand when the process is asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(20);

/// ArtiCurated's outbox relay: forwards committed events to their consumers.
#[derive(Debug, Parser)]
#[command(version)]
struct Config {
    /// Address to listen on, for health and metrics.
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    bind_address: IpAddr,
    #[arg(long, env = "RELAY_PORT", default_value_t = 8005)]
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

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = runtime::secrets::parse();
    process::run(NAME, &config.telemetry, async |shutdown| {
        let start = async |tasks: &Tasks| start(&config, tasks).await;
        process::serve(NAME, &config.limits, DRAIN_WITHIN, shutdown, start).await
    })
    .await
}

async fn start(config: &Config, tasks: &Tasks) -> Result<Server> {
    let listener = http::bind(SocketAddr::new(config.bind_address, config.relay_port), "RELAY_PORT").await?;
    let pool = database::connect_admitted(&config.database, ROLE, NAME, schema::admission_for_loops()).await?;
    let name = format!("relay-{}", Ids::system().next());
    let mut checks = vec![Check::database(&pool)];
    checks.extend(messaging::rabbitmq::readiness(&config.transport));
    outbox_relay::start(&pool, &config.database, &config.transport, &config.settings, &name, &Clock::system(), tasks);
    Ok(Server { listener, router: health::routes(checks) })
}
