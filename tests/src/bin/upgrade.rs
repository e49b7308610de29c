//! `make upgrade`: plays an upgrade to the programs of this tree, and back (`tests::faults::upgrade`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use tests::faults::upgrade::{self, Upgrade};

/// Replaces the programs of an earlier release by those of this tree, one after the other and under load, and then goes back.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Folder of the programs of the earlier release.
    #[arg(long)]
    from: PathBuf,
    #[arg(long, value_enum, default_value = "postgres")]
    transport: Transport,
    /// Seconds that each mixture of programs and schema runs.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Orders placed per second.
    #[arg(long, default_value_t = 3.0)]
    orders_per_second: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Postgres,
    Rabbitmq,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    ensure!(cli.from.join("standalone").exists(), "{} has no programs", cli.from.display());
    let outcome = upgrade::run(&Upgrade {
        from: std::path::absolute(cli.from)?,
        rabbitmq: cli.transport == Transport::Rabbitmq,
        phase: Duration::from_secs(cli.seconds),
        orders_per_second: cli.orders_per_second,
    })
    .await?;
    println!("Requests that customers repeated while the command service was replaced: {}", outcome.repeated);
    if outcome.violations.is_empty() {
        println!("The upgrade and the way back lost nothing.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} violations:", outcome.violations.len());
    outcome.violations.iter().for_each(|violation| println!("  {violation}"));
    println!("Logs and files are in {}", outcome.logs.display());
    Ok(ExitCode::FAILURE)
}
