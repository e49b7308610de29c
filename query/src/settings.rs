//! Settings of the projector and of the reads.

use std::time::Duration;

use clap::value_parser;

/// Settings of the query process beside its databases, transport and invoice store.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Largest number of events that the projector applies in one transaction
    #[arg(long, env = "PROJECTION_BATCH", default_value_t = 500, value_parser = value_parser!(i64).range(1..=10_000))]
    pub projection_batch: i64,
    /// Milliseconds after which an idle projector polls for events without a wake-up
    #[arg(long, env = "PROJECTION_POLL_MS", default_value_t = 200, value_parser = value_parser!(u64).range(1..=60_000))]
    pub projection_poll_ms: u64,
    /// Longest time in milliseconds that a request with a consistency token waits for the read model
    #[arg(long, env = "CONSISTENCY_WAIT_MS", default_value_t = 5_000, value_parser = value_parser!(u64).range(0..=20_000))]
    pub consistency_wait_ms: u64,
    /// Connections of the projector, of `DATABASE_MAX_CONNECTIONS`
    #[arg(long, env = "PROJECTOR_CONNECTIONS", default_value_t = 4, value_parser = value_parser!(u32).range(3..=64))]
    pub projector_connections: u32,
    /// Connections of reports, of `DATABASE_MAX_CONNECTIONS`
    #[arg(long, env = "REPORT_CONNECTIONS", default_value_t = 3, value_parser = value_parser!(u32).range(1..=64))]
    pub report_connections: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            projection_batch: 500,
            projection_poll_ms: 200,
            consistency_wait_ms: 5_000,
            projector_connections: 4,
            report_connections: 3,
        }
    }
}

impl Settings {
    pub(crate) fn projection_poll(&self) -> Duration {
        Duration::from_millis(self.projection_poll_ms)
    }

    pub(crate) fn consistency_wait(&self) -> Duration {
        Duration::from_millis(self.consistency_wait_ms)
    }
}
