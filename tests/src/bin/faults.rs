//! `make faults`: a long run of the fault harness (`tests::faults`), with a seed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use rand::RngExt;
use tests::faults::{self, Plan, Setup};

/// Kills processes at named places, cuts connections, crashes Postgres and `RabbitMQ`, and checks that no event was lost
/// and no effect happened twice.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Minutes that the run lasts at least; it continues until KILLS and RETURNS are reached.
    #[arg(long, env = "MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,
    /// Repeats the decisions of an earlier run. Unset: a random seed.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    #[arg(long, env = "TRANSPORT", value_enum, default_value = "postgres")]
    transport: Transport,
    /// Processes to kill.
    #[arg(long, env = "KILLS", default_value_t = 200)]
    kills: u64,
    /// Returns to complete, each with its refund.
    #[arg(long, env = "RETURNS", default_value_t = 1_000)]
    returns: u64,
    /// Orders placed per second.
    #[arg(long, env = "ORDERS_PER_SECOND", default_value_t = 3.0)]
    orders_per_second: f64,
    /// Keep the read models in a separate database.
    #[arg(long, env = "READ_DATABASE")]
    read_database: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Postgres,
    Rabbitmq,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let seed = cli.seed.unwrap_or_else(|| u64::from(rand::rng().random::<u32>()));
    let at_least = Duration::from_secs(cli.minutes * 60);
    let plan = Plan {
        seed,
        setup: Setup { rabbitmq: cli.transport == Transport::Rabbitmq, read_database: cli.read_database },
        at_least,
        kills: cli.kills,
        returns: cli.returns,
        at_most: at_least * 3 + Duration::from_secs(600),
        storm: Duration::from_secs(40),
        orders_per_second: cli.orders_per_second,
    };
    let transport = cli.transport.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let read_database = if cli.read_database { " READ_DATABASE=true" } else { "" };
    let again = format!("make faults SEED={seed} TRANSPORT={transport}{read_database}");
    eprintln!("{again}");
    let report = faults::run(&plan).await?;
    print!("{report}");
    if report.violations().is_empty() && report.late().is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("Logs and files are in {}. To repeat this run: {again}", report.logs().display());
    Ok(ExitCode::FAILURE)
}
