//! Runs a command with `DATABASE_URL` set to an empty database on a private Postgres, and exits with its exit code.
//!
//!     cargo run -p embedded --example with-postgres -- FOLDER COMMAND [ARGUMENT…]

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use embedded::postgres::{Options, PrivateCluster};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().context("which folder?")?;
    let program = arguments.next().context("which command?")?;

    let cluster = PrivateCluster::start(Options { fresh: true, ..Options::new(folder) }).await?;
    cluster.create_database("scratch").await?;
    let mut command = Command::new(program);
    command.args(arguments).env("DATABASE_URL", cluster.url("scratch"));
    // What `cargo run` says about this package is not for the command: a cargo that it starts would compile again what
    // depends on it.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    let status = tokio::task::spawn_blocking(move || command.status()).await??;
    cluster.stop().await;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
