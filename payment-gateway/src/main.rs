//! The mock payment gateway as a process.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use runtime::config::{HttpLimits, TelemetryConfig};
use runtime::process::Server;
use runtime::{Clock, Ids, docs, health, http, process};

const NAME: &str = "payment-gateway";
/// It has no background tasks to wait for.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// The mock payment gateway.
#[derive(Parser, Debug)]
#[command(version)]
struct Config {
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1")]
    bind_address: IpAddr,
    #[arg(long, env = "GATEWAY_PORT", default_value_t = 9000)]
    port: u16,
    #[command(flatten)]
    settings: payment_gateway::Settings,
    #[command(flatten)]
    limits: HttpLimits,
    #[command(flatten)]
    telemetry: TelemetryConfig,
}

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = runtime::secrets::parse();
    process::run(NAME, &config.telemetry, async |shutdown| {
        process::serve(NAME, &config.limits, DRAIN_WITHIN, shutdown, async |_| start(&config).await).await
    })
    .await
}

async fn start(config: &Config) -> Result<Server> {
    let listener = http::bind(SocketAddr::new(config.bind_address, config.port), "GATEWAY_PORT").await?;
    let router = payment_gateway::router(config.settings.clone(), Clock::system(), Ids::system())?
        .merge(health::routes(Vec::new()))
        .merge(docs::routes(contracts::API_SPECIFICATION));
    Ok(Server { listener, router })
}
