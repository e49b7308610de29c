//! What operators can do: one library behind the command line and the REST API.

pub mod audit;

use std::time::Duration;

use anyhow::{Context, anyhow};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};

/// The database role of operators: it reads everything, and changes the bookkeeping of outbox, inbox and queues.
pub const ROLE: &str = "articurated_operator";
/// Longest wait for a database that an operator asks about.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// Whether a database can be used, and if not, why. A pool would try on, and end with "timed out".
pub async fn reach(url: &SecretString) -> anyhow::Result<()> {
    let reached = tokio::time::timeout(REACHED_WITHIN, PgConnection::connect(url.expose_secret())).await;
    let reached = reached.with_context(|| format!("no answer within {REACHED_WITHIN:?}"))?;
    // sqlx's message repeats its cause, so the cause is not chained.
    let connection = reached.map_err(|error| anyhow!("{error}"))?;
    connection.close().await.context("the database hung up")
}
