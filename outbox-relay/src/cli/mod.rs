//! The command line of operators: arguments, and tables for people. With `--json` every command prints what the REST
//! API answers.

mod audit;
mod table;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use runtime::config::DatabaseConfig;
use runtime::database;
use serde::Serialize;
use sqlx::PgPool;

use crate::operations;

/// What an operator can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks all that must hold; exits with 1 when something does not, with 2 when it could not be checked.
    Audit(Box<audit::Audit>),
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Common {
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
        Command::Audit(arguments) => (arguments.run().await, 2),
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
        operations::reach(&self.database.database_url).await.context("the database (DATABASE_URL) cannot be used")?;
        database::connect(&self.database, Some(operations::ROLE), "outbox-relay operator").await
    }

    fn print<T: Serialize>(&self, report: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(report)?);
        } else {
            println!("{}", table(report).trim_end());
        }
        Ok(())
    }
}
