//! Forwards committed outbox rows to the consumers' queues: never loses one, never reorders an aggregate.
//!
//! - [`relay`]: the loop over one group of the leased shards, and [`position`], where it stands in the log;
//! - [`postgres_queue`]: outbox → inbox in one statement (the default);
//! - [`stream`]: outbox → RabbitMQ, and [`broker`], one batch of it with confirms;
//! - [`arrivals`]: what has come out of RabbitMQ, and what is brought to its queue again;
//! - [`row`], [`outcome`] and [`error`]: what happens when an event, or a batch, does not go out;
//! - [`maintenance`]: partitions and gauges.
//!
//! Invariant: an event counts as published only after its delivery is certain, and only under a lease that the relay holds.

mod relay;
mod position;
mod postgres_queue;
mod stream;
mod broker;
mod arrivals;
mod row;
mod outcome;
mod error;
mod store;
mod maintenance;

use std::time::Duration;

use messaging::leases::{self, Consumer, ShardGroup};
use messaging::{RetentionConfig, TransportConfig, Wakeup};
use runtime::config::DatabaseConfig;
use runtime::{Clock, Tasks};
use sqlx::PgPool;

use arrivals::ArrivalFollower;
use maintenance::{gauges, partitions};
use relay::Relay;

/// The relay's own settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Rows forwarded together (1 to 10000).
    #[arg(long = "relay-batch", env = "RELAY_BATCH", default_value_t = 1_000,
          value_parser = clap::value_parser!(i64).range(1..=10_000))]
    pub batch: i64,
    /// Groups into which the 16 shards are divided; the relay forwards them in parallel (1 to 16).
    #[arg(long = "relay-shard-groups", env = "RELAY_SHARD_GROUPS", default_value_t = 2,
          value_parser = clap::value_parser!(i16).range(1..=16))]
    pub shard_groups: i16,
    /// Attempts after which a row is parked (1 to 1000).
    #[arg(long = "relay-max-attempts", env = "RELAY_MAX_ATTEMPTS", default_value_t = 20,
          value_parser = clap::value_parser!(i32).range(1..=1_000))]
    pub max_attempts: i32,
    /// How long an event may be out without being in the inbox before the relay sends it again, if RabbitMQ's queue is empty:
    /// `5m`, `30s` (1 second to 1 day).
    #[arg(long = "rabbitmq-resend-after", env = "RABBITMQ_RESEND_AFTER", default_value = "5m", value_parser = resend_after)]
    pub resend_after: Duration,
    #[command(flatten)]
    pub retention: RetentionConfig,
}

impl Default for Settings {
    fn default() -> Self {
        let retention = RetentionConfig::default();
        Self { batch: 1_000, shard_groups: 2, max_attempts: 20, resend_after: Duration::from_secs(5 * 60), retention }
    }
}

fn resend_after(text: &str) -> Result<Duration, String> {
    let given = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 5m or 30s"))?;
    let is_valid = given >= Duration::from_secs(1) && given <= Duration::from_secs(24 * 60 * 60);
    is_valid.then_some(given).ok_or_else(|| "must be 1s to 1d".to_owned())
}

/// Starts the relay: leases, forwarding and maintenance.
///
/// `database` is where `pool` leads: maintenance opens a connection of its own, with the rights to drop partitions.
///
/// `name` tells this instance from others in leases and logs; it must be unique among living relays.
pub fn start(
    pool: &PgPool,
    database: &DatabaseConfig,
    transport: &TransportConfig,
    settings: &Settings,
    name: &str,
    clock: &Clock,
    tasks: &Tasks,
) {
    let leases = leases::start(pool.clone(), Consumer::Relay, name.to_owned(), tasks);
    partitions::start(pool, database, settings.retention, name, clock, tasks);
    gauges::start(pool, leases.clone(), tasks);
    if let Some(url) = transport.rabbitmq_url.clone() {
        let follower = ArrivalFollower::new(pool.clone(), url, name.to_owned(), settings.resend_after, leases.clone());
        tasks.spawn("relay arrivals", follower.run(tasks.clone()));
    }
    let wakeup = Wakeup::start(pool, messaging::outbox::CHANNEL, tasks);
    for group in ShardGroup::all(settings.shard_groups) {
        let relay = Relay::new(pool.clone(), transport, settings, name, group, leases.clone(), wakeup.clone());
        tasks.spawn("relay", relay.run(tasks.clone()));
    }
}
