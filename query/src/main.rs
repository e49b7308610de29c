//! The query process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use messaging::TransportConfig;
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::health::Check;
use runtime::{Clock, Ids, Tasks, database, docs, health, http, telemetry};
use secrecy::SecretString;
use sqlx::PgPool;
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
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Makes the read models again from the events, beside the live ones, and puts them in their place.
    Rebuild,
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
    if let Some(Action::Rebuild) = config.action {
        return rebuild(config).await;
    }
    let invoices = storage::open(&config.store.invoice_store_url).await?;
    let messaging = database::connect(&config.database, Some(ROLE), NAME).await?;
    let mut checks = vec![Check::database(&messaging)];
    let read = read_database(&config).await?;
    checks.extend(read.as_ref().map(Check::database));
    let listener = http::bind(SocketAddr::new(config.bind_address, config.port), "QUERY_PORT").await?;
    let tasks = Tasks::until_signal();
    let router = query::start(&messaging, read, config.transport, invoices, &config.settings, Clock::system(), &tasks)
        .merge(health::routes(checks))
        .merge(docs::routes(contracts::API_SPECIFICATION));
    let router = http::layered(router, NAME, &config.limits);
    tracing::info!(address = %listener.local_addr()?, "listening");
    let served = http::serve(listener, router, tasks.shutdown.clone()).await;
    let drained = tasks.drain(DRAIN_AT_MOST).await;
    served.and(drained)
}

/// Where the read models are, if not beside the inbox.
async fn read_database(config: &Config) -> anyhow::Result<Option<PgPool>> {
    let Some(database_url) = config.query_database_url.clone() else { return Ok(None) };
    let read = DatabaseConfig { database_url, ..config.database.clone() };
    Ok(Some(database::connect(&read, Some(ROLE), NAME).await.context("QUERY_DATABASE_URL")?))
}

async fn rebuild(config: Config) -> anyhow::Result<()> {
    let messaging = database::connect(&config.database, Some(ROLE), "query rebuild").await?;
    let read = read_database(&config).await?;
    let rebuilt = query::rebuild(messaging, read, Ids::system().next()).await?;
    let seconds = rebuilt.loaded_in.as_secs_f64();
    println!("Rebuilt from {} events in {seconds:.1} s; {} were unreadable.", rebuilt.events, rebuilt.unreadable);
    Ok(())
}
