//! The query process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use messaging::TransportConfig;
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::Check;
use runtime::{Clock, Tasks, database, docs, health, http, telemetry};
use secrecy::SecretString;
use storage::StoreSettings;

const NAME: &str = "query";
const ROLE: &str = "articurated_query";
/// Requests are cut off after 10 s, so the tasks have stopped by then too.
const DRAIN_AT_MOST: Duration = Duration::from_secs(15);

/// Answers queries from read models that it makes from events.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Config {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Another database for the read models; unset: they are in `DATABASE_URL`
    #[arg(long, env = "QUERY_DATABASE_URL", hide_env_values = true, value_parser = runtime::config::secret)]
    query_database_url: Option<SecretString>,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    settings: query::Settings,
    #[command(flatten)]
    limits: HttpLimits,
    #[command(flatten)]
    telemetry: TelemetryConfig,
    /// Address to listen on
    #[arg(long, env = "BIND_ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind_address: IpAddr,
    /// Port to listen on
    #[arg(long, env = "QUERY_PORT", default_value_t = 8002)]
    port: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let telemetry = telemetry::init(NAME, &config.telemetry)?;
    let answered = run(config).await;
    telemetry.shutdown();
    answered
}

async fn run(config: Config) -> anyhow::Result<()> {
    let invoices = storage::open(&config.store.invoice_store_url).await?;
    let messaging = database::connect(&config.database, Some(ROLE), NAME).await?;
    let mut checks = vec![Check::database(&messaging)];
    let read = match config.query_database_url {
        None => None,
        Some(database_url) => {
            let read_database = DatabaseConfig { database_url, ..config.database };
            let read = database::connect(&read_database, Some(ROLE), NAME).await.context("QUERY_DATABASE_URL")?;
            checks.push(Check::database(&read));
            Some(read)
        }
    };
    let listener = http::bind(SocketAddr::new(config.bind_address, config.port), "QUERY_PORT").await?;
    let tasks = Tasks::until_signal();
    let router = query::start(messaging, read, config.transport, invoices, &config.settings, Clock::system(), &tasks)
        .merge(health::routes(checks))
        .merge(docs::routes());
    let router = http::layered(router, NAME, &config.limits);
    tracing::info!(address = %listener.local_addr()?, "listening");
    let served = http::serve(listener, router, tasks.shutdown.clone()).await;
    let drained = tasks.drain(DRAIN_AT_MOST).await;
    served.and(drained)
}
