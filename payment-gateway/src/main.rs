use std::net::{IpAddr, SocketAddr};

use clap::Parser;
use runtime::config::{HttpLimits, TelemetryConfig};
use runtime::{Clock, Ids, docs, health, http, shutdown, telemetry};

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
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let telemetry = telemetry::init("payment-gateway", &config.telemetry)?;
    let shutdown = shutdown::on_signal();
    let router = payment_gateway::router(config.settings, Clock::system(), Ids::system())?
        .merge(health::routes(Vec::new()))
        .merge(docs::routes(contracts::API_SPECIFICATION));
    let router = http::layered(router, "payment-gateway", &config.limits);
    let listener = http::bind(SocketAddr::new(config.bind_address, config.port), "GATEWAY_PORT").await?;
    tracing::info!(address = %listener.local_addr()?, "payment gateway is listening");
    http::serve(listener, router, shutdown).await?;
    telemetry.shutdown();
    Ok(())
}
