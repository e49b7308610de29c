//! What operators can do: one library behind the command line and the REST API.
//!
//! - [`status`], [`stuck`], [`show`]: looking;
//! - [`replay`], [`skip`], [`release`]: events in the outbox;
//! - [`jobs`], [`queues`]: what consumers do with them;
//! - [`acts`]: the record of who did what, and why;
//! - [`schedules`]: what is done by the clock, and what became of it;
//! - [`audit`]: whether everything holds that must hold;
//! - [`doctor`]: what keeps events from arriving;
//! - [`cli`] and [`api`]: the two ways to ask for all of it.
//!
//! Invariant: every change is made in the transaction that records it.

pub mod status;
pub mod stuck;
pub mod show;
pub mod replay;
pub mod skip;
pub mod release;
pub mod jobs;
pub mod queues;
pub mod acts;
pub mod schedules;
pub mod audit;
pub mod doctor;
pub mod cli;
pub mod api;

mod error;
mod hints;

use std::time::Duration;

use anyhow::{Context, anyhow};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use utoipa::ToSchema;

pub use acts::{Door, Operator};
pub use error::OperationError;

/// The database role of operators: it reads everything, and changes the bookkeeping of outbox, inbox and queues.
pub const ROLE: &str = "articurated_operator";

/// What an act has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Acted {
    /// 0 when everything was as wanted already.
    pub rows_changed: u64,
}

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
