//! `standalone [run | demo FILE | migrate | openapi]`

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use messaging::TransportConfig;
use runtime::config::{LogFormat, TelemetryConfig};
use runtime::{shutdown, telemetry};
use standalone::demo::{self, Script};
use standalone::private::{self, Services, Wanted};
use standalone::settings::{Action, Cli, Demo, Migrate, Run, Transport, from_environment};
use standalone::{Options, Ports, Running, openapi, places, start_on};
use workers::mail::MailSettings;

/// Where the gateway keeps what it has paid, in the data folder.
const LEDGER: &str = "gateway-ledger.jsonl";

#[tokio::main]
async fn main() -> ExitCode {
    match act(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What went wrong is for a person at a terminal: a sentence, never a stack.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(cli: Cli) -> Result<()> {
    match cli.action {
        None => run(cli.run).await,
        Some(Action::Run(settings)) => run(*settings).await,
        Some(Action::Demo(settings)) => play(settings).await,
        Some(Action::Migrate(settings)) => migrate(settings).await,
        Some(Action::Openapi) => {
            print!("{}", openapi::yaml()?);
            Ok(())
        }
    }
}

async fn run(settings: Run) -> Result<()> {
    let telemetry = telemetry::init("standalone", &settings.telemetry)?;
    let ended = serve(settings).await;
    telemetry.shutdown();
    ended
}

async fn serve(settings: Run) -> Result<()> {
    let shutdown = shutdown::on_signal();
    let mut options = options(&settings.data_dir)?;
    let ports = Ports::bind(settings.bind_address, settings.port, settings.gateway_port).await?;
    let wanted = Wanted {
        data_dir: &settings.data_dir,
        postgres_port: settings.postgres_port,
        database_url: settings.database_url.clone(),
        rabbitmq: settings.broker(),
        fresh: false,
    };
    let services = tokio::select! {
        services = Services::start(wanted) => services?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let pretty = settings.telemetry.log_format == LogFormat::Pretty;
    options.run_on(&services);
    let running = start_on(ports, options, shutdown).await?;
    if pretty {
        banner(&running);
    }
    running.ended().await;
    let stopped = running.stop().await;
    services.stop().await;
    stopped
}

/// The processes with the settings of the environment: whatever is wrong with them is told before anything starts.
fn options(data_dir: &Path) -> Result<Options> {
    let mut gateway: payment_gateway::Settings = from_environment()?;
    if gateway.ledger_file.is_none() {
        // What the gateway has paid must outlive a restart, as our record does that it was paid.
        fs::create_dir_all(data_dir)?;
        gateway.ledger_file = Some(data_dir.join(LEDGER));
    }
    Ok(Options {
        limits: from_environment()?,
        command: from_environment()?,
        relay: from_environment()?,
        operators: from_environment()?,
        workers: from_environment()?,
        query: from_environment()?,
        gateway,
        ..Options::new(String::new())
    })
}

fn banner(running: &Running) {
    eprintln!("\n  ArtiCurated is running. Ctrl-C stops it.\n");
    for (what, url) in places(&running.base_url, &running.gateway_url) {
        eprintln!("  {what:<24}{url}");
    }
    eprintln!();
}

async fn play(settings: Demo) -> Result<()> {
    let log = TelemetryConfig {
        log_format: LogFormat::Pretty,
        log_filter: settings.log.clone(),
        otlp_endpoint: settings.otlp_endpoint.clone(),
        ..TelemetryConfig::default()
    };
    let telemetry = telemetry::init("demo", &log)?;
    let ended = play_on_empty_services(&settings).await;
    telemetry.shutdown();
    ended
}

async fn play_on_empty_services(settings: &Demo) -> Result<()> {
    let started = Instant::now();
    let shutdown = shutdown::on_signal();
    let script = Script::read(&settings.file)?;
    let folder = settings.data_dir.join("demo");
    let mut options = options(&folder)?;
    let wanted = Wanted {
        data_dir: &folder,
        postgres_port: None,
        database_url: None,
        rabbitmq: (settings.transport == Transport::Rabbitmq).then(TransportConfig::default),
        fresh: true,
    };
    let what = if wanted.rabbitmq.is_some() { "Postgres and RabbitMQ" } else { "Postgres" };
    println!("Starting a private {what} in {}", folder.display());
    let services = tokio::select! {
        services = Services::start(wanted) => services?,
        () = shutdown.cancelled() => bail!("stopped"),
    };
    // The services' locks are ours now: nobody else uses the folder.
    let invoices = folder.join("invoices");
    for old in [&invoices, &folder.join(LEDGER)] {
        remove(old)?;
    }
    options.run_on(&services);
    script.open_shop(&mut options)?;
    options.workers.store.invoice_store_url = invoices.display().to_string();
    // Nobody is to get an e-mail about a play.
    options.workers.mail = MailSettings::default();
    let pool = private::pool(&services.database_url, "demo").await?;

    // Free ports, so that a system may run on the usual ones meanwhile.
    let ports = Ports::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 0).await?;
    let running = start_on(ports, options, shutdown).await?;
    println!("Ready after {:.1} s: {}", started.elapsed().as_secs_f64(), running.base_url);
    let played = tokio::select! {
        played = demo::play(&script, &running, &pool, &invoices) => played,
        () = running.ended() => Err(anyhow!("stopped")),
    };
    pool.close().await;
    let stopped = running.stop().await;
    services.stop().await;
    played.and(stopped)?;
    println!("\nAll in all {:.1} s. To look around in what it made:", started.elapsed().as_secs_f64());
    println!("  the PDFs are in {}", invoices.display());
    println!("  DATA_DIR={} INVOICE_STORE_URL={} make run", folder.display(), invoices.display());
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

async fn migrate(settings: Migrate) -> Result<()> {
    let telemetry = telemetry::init("migrate", &settings.telemetry)?;
    let migrated = migrate_all(&settings).await;
    telemetry.shutdown();
    migrated
}

/// Both databases get all of the schema; what the other one uses stays empty.
async fn migrate_all(settings: &Migrate) -> Result<()> {
    for url in [Some(&settings.database_url), settings.query_database_url.as_ref()].into_iter().flatten() {
        private::migrate(url).await?;
    }
    tracing::info!("the database is up to date");
    Ok(())
}
