//! The query service as a process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use access::{Access, AccessSettings};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use query::OnLoss;
use runtime::config::{DatabaseConfig, HttpLimits, TelemetryConfig};
use runtime::process::Server;
use runtime::{Clock, Ids, Tasks, database, docs, health, http, process};
use secrecy::SecretString;
use storage::StoreSettings;

const NAME: &str = "query";
/// Longest wait for the projector's batch in hand when the process is asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(15);

/// Answers queries from read models that it builds from events.
#[derive(Debug, Parser)]
#[command(name = NAME, version)]
struct Config {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Database of the read models. Unset: `DATABASE_URL`
    #[arg(long, env = "QUERY_DATABASE_URL", hide_env_values = true, value_parser = runtime::config::secret)]
    query_database_url: Option<SecretString>,
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    settings: query::Settings,
    #[command(flatten)]
    limits: HttpLimits,
    #[command(flatten)]
    access: AccessSettings,
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
    /// Rebuilds the read models from the events, beside the live ones, and swaps them in.
    Rebuild {
        /// Also when the live read models show what no event tells, as after a failover that lost commits: they forget it
        #[arg(long)]
        accept_loss: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let config: Config = runtime::secrets::parse();
    process::run(NAME, &config.telemetry, async |shutdown| match &config.action {
        None => {
            let start = async |tasks: &Tasks| start(&config, tasks).await;
            process::serve(NAME, &config.limits, DRAIN_WITHIN, shutdown, start).await
        }
        Some(Action::Rebuild { accept_loss }) => {
            let on_loss = if *accept_loss { OnLoss::Forget } else { OnLoss::Fail };
            process::interruptible(&shutdown, Box::pin(rebuild(&config, on_loss))).await
        }
    })
    .await
}

async fn start(config: &Config, tasks: &Tasks) -> Result<Server> {
    let listener = http::bind(SocketAddr::new(config.bind_address, config.port), "QUERY_PORT").await?;
    let invoices = storage::open(&config.store.invoice_store_url).await?;
    let pools = query::Pools::connect(&config.database, read_database(config).as_ref(), &config.settings).await?;
    let checks = pools.checks();
    let name = format!("query-{}", Ids::system().next());
    let clock = Clock::system();
    let access = Access::start(&config.access, config.bind_address, pools.of_commands(), &clock, tasks).await?;
    let router = query::start(pools, invoices, &config.settings, clock, name, &access, tasks)
        .merge(health::routes(checks))
        .merge(docs::routes(contracts::API_SPECIFICATION));
    Ok(Server { listener, router })
}

/// The database of the read models, when it is not the one that holds the outbox.
fn read_database(config: &Config) -> Option<DatabaseConfig> {
    let database_url = config.query_database_url.clone()?;
    Some(DatabaseConfig { database_url, ..config.database.clone() })
}

async fn rebuild(config: &Config, on_loss: OnLoss) -> Result<()> {
    let messaging =
        database::connect_admitted(&config.database, query::ROLE, "query rebuild", schema::admission()).await?;
    let read = match read_database(config) {
        Some(read) => {
            let read = database::connect_admitted(&read, query::ROLE, "query rebuild", schema::admission()).await;
            Some(read.context("QUERY_DATABASE_URL")?)
        }
        None => None,
    };
    let rebuilt = query::rebuild(messaging, read, Ids::system().next(), on_loss).await?;
    let seconds = rebuilt.loaded_in.as_secs_f64();
    println!("Rebuilt from {} events in {seconds:.1} s; {} were unreadable.", rebuilt.events, rebuilt.unreadable);
    if rebuilt.lost.documents + rebuilt.lost.entries > 0 {
        let query::Lost { documents, entries } = rebuilt.lost;
        println!("Forgotten: {documents} documents that were newer or unknown, and {entries} history entries.");
    }
    Ok(())
}
