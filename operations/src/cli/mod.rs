//! The command line of operators: arguments, and tables for people. With `--json` every command prints what the REST
//! API answers.

mod looking;
mod acting;
mod audit;
mod doctor;
mod table;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use runtime::config::DatabaseConfig;
use runtime::database;
use serde::Serialize;
use sqlx::PgPool;

use crate::{ROLE, reach};

/// What an operator can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// How relays, outbox and queues stand
    Status(looking::Status),
    /// What does not get on: parked or failing events, dead, doubtful or overdue jobs
    Stuck(looking::Stuck),
    /// One event, or all of an order, return, document or refund, with jobs and acts
    Show(looking::Show),
    /// Sends events again; whoever has consumed one drops it
    Replay(acting::Replay),
    /// Gives an event up, so that its order, return, document or refund goes on without it
    Skip(acting::Skip),
    /// Ends a back-off, or the lease of a job that does not come back
    Release(acting::Release),
    /// Lists jobs, by default those that are dead or in doubt
    Jobs(looking::Jobs),
    /// Gives dead jobs all their attempts back
    Retry(acting::Retry),
    /// Lets nobody begin a job of a queue
    Pause(acting::Pause),
    /// Ends a pause
    Resume(acting::Resume),
    /// What operators did, when and why
    Acts(looking::Acts),
    /// What is done by the clock: when each schedule is due, who leads it, and what became of its last run
    Schedules(looking::Schedules),
    /// Checks all that must hold; exits with 1 when something does not, with 2 when it could not be checked
    Audit(Box<audit::Audit>),
    /// Names what keeps events from arriving, or schedules from running; exits with 1 when there is something
    Doctor(doctor::Doctor),
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Carries a command out. What went wrong is one sentence on stderr.
pub async fn run(command: Command) -> ExitCode {
    runtime::tls::install();
    let (done, failure) = match command {
        Command::Status(arguments) => (arguments.run().await, 1),
        Command::Stuck(arguments) => (arguments.run().await, 1),
        Command::Show(arguments) => (arguments.run().await, 1),
        Command::Replay(arguments) => (arguments.run().await, 1),
        Command::Skip(arguments) => (arguments.run().await, 1),
        Command::Release(arguments) => (arguments.run().await, 1),
        Command::Jobs(arguments) => (arguments.run().await, 1),
        Command::Retry(arguments) => (arguments.run().await, 1),
        Command::Pause(arguments) => (arguments.run().await, 1),
        Command::Resume(arguments) => (arguments.run().await, 1),
        Command::Acts(arguments) => (arguments.run().await, 1),
        Command::Schedules(arguments) => (arguments.run().await, 1),
        Command::Audit(arguments) => (arguments.run().await, 2),
        Command::Doctor(arguments) => (arguments.run().await, 1),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(failure)
    })
}

impl Common {
    /// A pool with the rights of an operator.
    async fn connect(&self) -> anyhow::Result<PgPool> {
        // A process waits for its database to start; a person wants to know now.
        reach(&self.database.database_url).await.context("the database (DATABASE_URL) cannot be used")?;
        database::connect(&self.database, Some(ROLE), "ops").await
    }

    /// A reader that has seen enough may close the pipe.
    fn print<T: Serialize>(&self, report: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<ExitCode> {
        use std::io::{ErrorKind, Write};

        let text = if self.json { serde_json::to_string_pretty(report)? } else { table(report).trim_end().to_owned() };
        match writeln!(std::io::stdout(), "{text}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}
