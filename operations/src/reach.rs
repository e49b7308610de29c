//! Whether a database can be used.

use std::time::Duration;

use anyhow::{Context, anyhow};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection};

/// Longest wait for a connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects once, and says why when that fails. A pool would retry, and end with "timed out" only.
pub(crate) async fn reach(url: &SecretString) -> anyhow::Result<()> {
    let reached = tokio::time::timeout(TIMEOUT, PgConnection::connect(url.expose_secret())).await;
    let reached = reached.with_context(|| format!("no answer within {TIMEOUT:?}"))?;
    // sqlx's message repeats its cause, so the cause is not chained.
    let connection = reached.map_err(|error| anyhow!("{error}"))?;
    connection.close().await.context("the database closed the connection")
}
