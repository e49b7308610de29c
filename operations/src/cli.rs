//! The command line of operators: arguments, and tables for people. With `--json` every command prints what the REST
//! API answers.

mod read;
mod write;
mod bulk;
mod investigate;
mod audit;
mod doctor;
mod keys;
mod customer;
mod seal;
mod watch;
mod progress;
mod tables;
mod terminal;
mod format;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use runtime::config::DatabaseConfig;
use runtime::database;
use serde::Serialize;
use sqlx::PgPool;

use crate::ROLE;
use crate::reach::reach;

use format::Page;

/// Begins the error for a database that cannot be reached.
const UNUSABLE: &str = "the database (DATABASE_URL) cannot be used: ";
/// A watch does not wait longer than this for its connection; then it says why.
const WATCH_WAITS: Duration = Duration::from_secs(2);

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows how relays, outbox and queues are doing
    Status(read::Status),
    /// Lists what makes no progress: parked or failing events; dead, doubtful or overdue jobs
    Stuck(read::Stuck),
    /// Shows one event, or all events of an order, return, document or refund, with jobs and operator actions
    Show(read::Show),
    /// Tells the story of an order: its steps, and what came of each
    Order(read::Order),
    /// Sends events again; a consumer that already has one drops the copy
    Replay(write::Replay),
    /// Keeps an event from the job queues for good, so that its order, return, document or refund continues without it
    Skip(write::Skip),
    /// Ends a back-off, or the lease of a job that hangs
    Release(write::Release),
    /// Lists jobs; without --status those that are dead or in doubt
    Jobs(read::Jobs),
    /// Gives dead jobs all their attempts back
    Retry(write::Retry),
    /// Ends the dead jobs of an event without their effect; in an ordered queue the later events go on
    Discard(write::Discard),
    /// Acts on all that a filter matches, in batches that survive a restart
    #[command(subcommand)]
    Bulk(Box<bulk::Command>),
    /// Puts your name at events, so that others see who looks into them
    Investigate(investigate::Investigate),
    /// Stops the consumers of a queue from starting jobs
    Pause(write::Pause),
    /// Ends a pause
    Resume(write::Resume),
    /// Lists what operators did, when and why
    Actions(read::Actions),
    /// Lists what runs by the clock: when each schedule is due, who leads it, and how its last run ended
    Schedules(read::Schedules),
    /// Has a schedule run now: its next run moves up
    RunSchedule(write::RunSchedule),
    /// Lists, makes, rotates and revokes the keys of callers
    #[command(subcommand)]
    Keys(keys::Command),
    /// Exports what is known of a customer, or erases it
    #[command(subcommand)]
    Customer(customer::Command),
    /// Checks everything that must hold; exits with 1 for a violation, with 2 when something could not be checked
    Audit(Box<audit::Audit>),
    /// Seals what was added to the audit since the last seal, in files outside of the database
    Seal(seal::Seal),
    /// Names what keeps events from arriving, or schedules from running; exits with 1 for a problem
    Doctor(doctor::Doctor),
}

/// The arguments of every command.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    database: DatabaseConfig,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs a command. An error is one sentence on stderr.
pub async fn run(command: Command) -> ExitCode {
    runtime::tls::install();
    let (done, failure) = match command {
        Command::Status(arguments) => (arguments.run().await, 1),
        Command::Stuck(arguments) => (arguments.run().await, 1),
        Command::Show(arguments) => (arguments.run().await, 1),
        Command::Order(arguments) => (arguments.run().await, 1),
        Command::Replay(arguments) => (arguments.run().await, 1),
        Command::Skip(arguments) => (arguments.run().await, 1),
        Command::Release(arguments) => (arguments.run().await, 1),
        Command::Jobs(arguments) => (arguments.run().await, 1),
        Command::Retry(arguments) => (arguments.run().await, 1),
        Command::Discard(arguments) => (arguments.run().await, 1),
        Command::Bulk(command) => (command.run().await, 1),
        Command::Investigate(arguments) => (arguments.run().await, 1),
        Command::Pause(arguments) => (arguments.run().await, 1),
        Command::Resume(arguments) => (arguments.run().await, 1),
        Command::Actions(arguments) => (arguments.run().await, 1),
        Command::Schedules(arguments) => (arguments.run().await, 1),
        Command::RunSchedule(arguments) => (arguments.run().await, 1),
        Command::Keys(command) => (command.run().await, 1),
        Command::Customer(command) => (command.run().await, 1),
        Command::Seal(arguments) => (arguments.run().await, 1),
        Command::Audit(arguments) => (arguments.run().await, 2),
        Command::Doctor(arguments) => (arguments.run().await, 1),
    };
    done.unwrap_or_else(|error| {
        terminal::say_error(&error);
        ExitCode::from(failure)
    })
}

impl Common {
    /// A pool with the rights of an operator. While a standby is all that is left, it can still be asked; it refuses
    /// operator actions itself.
    async fn connect(&self) -> anyhow::Result<PgPool> {
        // A process waits for its database to start; a person wants to know now.
        self.reach().await?;
        database::connect_to_read(&self.database, ROLE, "ops").await
    }

    /// The same with one connection, for which no one waits long.
    async fn connect_once(&self) -> anyhow::Result<PgPool> {
        self.reach().await?;
        let acquire_timeout = self.database.acquire_timeout.min(WATCH_WAITS);
        let database = DatabaseConfig { max_connections: 1, acquire_timeout, ..self.database.clone() };
        database::connect_to_read(&database, ROLE, "ops").await
    }

    async fn reach(&self) -> anyhow::Result<()> {
        let reached = reach(&self.database.database_url).await;
        reached.map_err(|error| anyhow!("{UNUSABLE}{error}\n       → {}", error.remedy()))
    }

    /// Prints a report as JSON, or as a page.
    fn print<T: Serialize, P: Into<Page>>(&self, report: &T, page: impl FnOnce(&T) -> P) -> anyhow::Result<ExitCode> {
        if self.json {
            terminal::print_json(report, false)?;
        } else {
            terminal::print_page(&page(report).into())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
