//! What operators ask while the system works: `doctor` and `status`, timed.

use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::{DateTime, Utc};
use messaging::{RetentionConfig, TransportConfig};
use operations::doctor::{self, Severity, Surroundings};
use operations::read::status;
use runtime::Clock;
use runtime::config::DatabaseConfig;
use sqlx::PgPool;

use crate::system::Database;

/// The operators' connections.
#[derive(Debug)]
pub(crate) struct Operators {
    pool: PgPool,
    surroundings: Surroundings,
}

/// What waits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lag {
    /// Events that are not out, counted up to 10,000.
    pub(crate) pending: i64,
    /// Jobs that can start, counted up to 10,000 in each queue.
    pub(crate) ready: i64,
    /// The age of the oldest such event.
    pub(crate) relay_seconds: f64,
    /// The age of the oldest such job, since it arrived.
    pub(crate) inbox_seconds: f64,
}

impl Operators {
    pub(crate) async fn new(database: &Database, retention: RetentionConfig) -> Result<Self> {
        let config = DatabaseConfig { database_url: database.url.clone().into(), ..DatabaseConfig::default() };
        let pool = runtime::database::connect(&config, Some(operations::ROLE), "bench operators").await?;
        let surroundings = Surroundings { transport: TransportConfig::default(), retention, clock: Clock::system() };
        Ok(Self { pool, surroundings })
    }

    /// How long `doctor` takes, and the problems it finds.
    pub(crate) async fn doctor(&self) -> Result<(Duration, Vec<String>)> {
        let started = Instant::now();
        let diagnosis = doctor::diagnose(&self.pool, &self.surroundings).await?;
        let took = started.elapsed();
        let problems = diagnosis.findings.into_iter().filter(|finding| finding.severity == Severity::Problem);
        Ok((took, problems.map(|finding| format!("{}: {}", finding.code, finding.cause)).collect()))
    }

    /// How long `status` takes, and what it says of the backlog.
    pub(crate) async fn status(&self) -> Result<(Duration, Lag)> {
        let started = Instant::now();
        let status = status::status(&self.pool).await?;
        let took = started.elapsed();
        let age =
            |since: Option<DateTime<Utc>>| since.map_or(0.0, |since| (status.at - since).as_seconds_f64().max(0.0));
        let oldest_job = status.queues.iter().filter_map(|queue| queue.oldest_ready).min();
        let lag = Lag {
            pending: status.outbox.pending,
            ready: status.queues.iter().map(|queue| queue.ready).sum(),
            relay_seconds: age(status.outbox.oldest_pending),
            inbox_seconds: age(oldest_job),
        };
        Ok((took, lag))
    }
}
