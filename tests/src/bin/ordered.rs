//! `make ordered`: a long run of the proof of ordered queues (`tests::ordered`), and the program of its workers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser};
use rand::RngExt;
use runtime::config::DatabaseConfig;
use tests::ordered::{self, Plan, VERSIONS, worker};

/// Proves that an ordered queue keeps the order of each aggregate through failures, kills and operator actions.
#[derive(Debug, Parser)]
#[command(version)]
enum Cli {
    /// Makes a run and checks its history
    Prove(Prove),
    /// Works as one of the workers of a run
    Work(Work),
}

#[derive(Debug, Args)]
struct Prove {
    /// Jobs of the run; each aggregate has 50.
    #[arg(long, env = "JOBS", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(50..=10_000_000))]
    jobs: u32,
    /// Workers to kill.
    #[arg(long, env = "KILLS", default_value_t = 40)]
    kills: usize,
    /// Repeats the decisions of an earlier run. Unset: a random seed.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

#[derive(Debug, Args)]
struct Work {
    #[command(flatten)]
    database: DatabaseConfig,
    #[arg(long)]
    name: String,
    #[arg(long)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    match Cli::parse() {
        Cli::Prove(arguments) => prove(arguments).await,
        Cli::Work(Work { database, name, seed }) => {
            worker::work(&database, &name, seed).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn prove(Prove { jobs, kills, seed }: Prove) -> Result<ExitCode> {
    let seed = seed.unwrap_or_else(|| u64::from(rand::rng().random::<u32>()));
    eprintln!("make ordered JOBS={jobs} KILLS={kills} SEED={seed}");
    let aggregates = usize::try_from(jobs.div_ceil(VERSIONS.unsigned_abs()))?;
    let plan = Plan { aggregates, workers: 3, kills, seed, at_most: Duration::from_secs(3_600) };
    let report = ordered::run(&plan).await?;
    print!("{report}");
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
