//! Settings of the projector and of the reads.

use std::time::Duration;

use clap::value_parser;
use contracts::{RefundShipping, ReturnPolicy};

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
    /// As for the commands: what an order shows as returnable depends on it
    #[arg(long, env = "RETURN_WINDOW_DAYS", default_value_t = 30, value_parser = value_parser!(u32).range(0..=3_650))]
    pub return_window_days: u32,
    /// As for the commands
    #[arg(long, env = "BUSINESS_TIMEZONE", default_value = "Asia/Kolkata", value_parser = runtime::config::timezone)]
    pub business_timezone: chrono_tz::Tz,
    /// As for the commands
    #[arg(long, env = "RETURNS_PER_ORDER", value_enum, default_value_t)]
    pub returns_per_order: ReturnsPerOrder,
}

/// How many returns an order can have. Rejected ones do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ReturnsPerOrder {
    #[default]
    Many,
    One,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            projection_batch: 500,
            projection_poll_ms: 200,
            consistency_wait_ms: 5_000,
            projector_connections: 4,
            report_connections: 3,
            return_window_days: 30,
            business_timezone: chrono_tz::Asia::Kolkata,
            returns_per_order: ReturnsPerOrder::default(),
        }
    }
}

impl Settings {
    pub(crate) fn projection_poll(&self) -> Duration {
        Duration::from_millis(self.projection_poll_ms)
    }

    /// Which units of an order may be returned. What a return refunds is not shown before it is requested.
    pub(crate) fn return_policy(&self) -> ReturnPolicy {
        ReturnPolicy {
            window_days: self.return_window_days,
            timezone: self.business_timezone,
            one_return_per_order: self.returns_per_order == ReturnsPerOrder::One,
            shipping: RefundShipping::Never,
        }
    }

    pub(crate) fn consistency_wait(&self) -> Duration {
        Duration::from_millis(self.consistency_wait_ms)
    }
}
