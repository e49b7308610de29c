//! `standalone [run | demo FILE | migrate | openapi | asyncapi]`

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use access::AccessSettings;
use anyhow::{Context, Result, anyhow};
use messaging::TransportConfig;
use runtime::config::{LogFormat, TelemetryConfig};
use runtime::process;
use standalone::demo::{self, Script};
use standalone::private::{self, Required, Services};
use standalone::settings::{Action, Cli, Demo, Migrate, Run, Transport, from_environment};
use standalone::{Options, Ports, Running, asyncapi, openapi, places, start_on};
use tokio_util::sync::CancellationToken;
use workers::notifications::MailSettings;

/// The gateway's ledger, in the data folder.
const LEDGER: &str = "gateway-ledger.jsonl";

#[tokio::main]
async fn main() -> ExitCode {
    let cli: Cli = runtime::secrets::parse();
    match cli.action {
        None => run(cli.run).await,
        Some(Action::Run(settings)) => run(*settings).await,
        Some(Action::Demo(settings)) => run_demo(settings).await,
        Some(Action::Migrate(settings)) => migrate(settings).await,
        Some(Action::Openapi) => process::exit_code(openapi::yaml().map(|text| print!("{text}"))),
        Some(Action::Asyncapi) => process::exit_code(asyncapi::yaml().map(|text| print!("{text}"))),
    }
}

async fn run(settings: Run) -> ExitCode {
    process::run("standalone", &settings.telemetry, async |shutdown| serve(&settings, shutdown).await).await
}

async fn serve(settings: &Run, shutdown: CancellationToken) -> Result<()> {
    let mut options = options(&settings.data_dir)?;
    let ports = Ports::bind(settings.bind_address, settings.port, settings.gateway_port).await?;
    let required = Required {
        data_dir: &settings.data_dir,
        postgres_port: settings.postgres_port,
        database_url: settings.database_url.clone(),
        rabbitmq: settings.broker(),
        fresh: false,
    };
    let Some(services) = shutdown.run_until_cancelled(Services::start(required)).await else { return Ok(()) };
    let services = services?;
    options.run_on(&services);
    let ended = async {
        let running = start_on(ports, options, shutdown).await?;
        if settings.telemetry.log_format == LogFormat::Pretty {
            banner(&running);
        }
        running.ended().await;
        running.stop().await
    }
    .await;
    services.stop().await;
    ended
}

/// The settings of every process, from the environment. An invalid one is an error before anything starts.
fn options(data_dir: &Path) -> Result<Options> {
    let mut gateway: payment_gateway::Settings = from_environment()?;
    if gateway.ledger_file.is_none() {
        // Our refunds outlive a restart, so the gateway's ledger must too.
        fs::create_dir_all(data_dir)?;
        gateway.ledger_file = Some(data_dir.join(LEDGER));
    }
    Ok(Options {
        limits: from_environment()?,
        access: from_environment()?,
        command: from_environment()?,
        relay: from_environment()?,
        operations: from_environment()?,
        console: from_environment()?,
        mcp: from_environment()?,
        seal: from_environment()?,
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

async fn run_demo(settings: Demo) -> ExitCode {
    let log = TelemetryConfig {
        log_format: LogFormat::Pretty,
        log_filter: settings.log.clone(),
        traces: settings.traces.clone(),
    };
    process::run("demo", &log, async |shutdown| Box::pin(play(&settings, shutdown)).await).await
}

/// Plays the script on empty private services.
async fn play(settings: &Demo, shutdown: CancellationToken) -> Result<()> {
    let started = Instant::now();
    let script = Script::read(&settings.file)?;
    let folder = settings.data_dir.join("demo");
    let mut options = options(&folder)?;
    let required = Required {
        data_dir: &folder,
        postgres_port: None,
        database_url: None,
        rabbitmq: (settings.transport == Transport::Rabbitmq).then(TransportConfig::default),
        fresh: true,
    };
    let what = if required.rabbitmq.is_some() { "Postgres and RabbitMQ" } else { "Postgres" };
    println!("Starting a private {what} in {}", folder.display());
    let services = process::interruptible(&shutdown, Services::start(required)).await?;
    options.run_on(&services);
    // The services hold the lock of the folder, so no other run uses it.
    let invoices = folder.join("invoices");
    let played = async {
        for old in [&invoices, &folder.join(LEDGER)] {
            remove(old)?;
        }
        script.open_shop(&mut options)?;
        options.workers.store.invoice_store_url = invoices.display().to_string();
        Box::pin(play_with(options, &script, &invoices, shutdown, started)).await
    }
    .await;
    services.stop().await;
    played?;
    println!("\nThe demo took {:.1} s. Its PDFs are in {}", started.elapsed().as_secs_f64(), invoices.display());
    println!("To start the system with its data:");
    println!("  DATA_DIR={} INVOICE_STORE_URL={} make run", folder.display(), invoices.display());
    Ok(())
}

async fn play_with(
    mut options: Options,
    script: &Script,
    invoices: &Path,
    shutdown: CancellationToken,
    started: Instant,
) -> Result<()> {
    // A demo sends no e-mails, and is its own only caller.
    options.workers.mail = MailSettings::default();
    options.access = AccessSettings::default();
    let pool = private::pool(&options.database_url, "demo").await?;
    // Free ports, because a system may be running on the default ones.
    let ports = Ports::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 0).await?;
    let running = start_on(ports, options, shutdown).await?;
    println!("Ready after {:.1} s: {}", started.elapsed().as_secs_f64(), running.base_url);
    let played = tokio::select! {
        played = demo::play(script, &running, &pool, invoices) => played,
        () = running.ended() => Err(anyhow!("stopped")),
    };
    pool.close().await;
    played.and(running.stop().await)
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

async fn migrate(settings: Migrate) -> ExitCode {
    process::run("migrate", &settings.telemetry, async |shutdown| {
        process::interruptible(&shutdown, migrate_all(&settings)).await
    })
    .await
}

/// Each database gets the whole schema; the tables that the other one uses stay empty.
async fn migrate_all(settings: &Migrate) -> Result<()> {
    for url in [Some(&settings.database_url), settings.query_database_url.as_ref()].into_iter().flatten() {
        private::migrate(url).await?;
    }
    tracing::info!("the database is up to date");
    Ok(())
}
