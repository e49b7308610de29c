//! Forwards committed outbox rows to the consumers' queues: never loses one, never reorders an aggregate.
//!
//! - [`leases`]: which shards this instance may publish;
//! - [`relay`]: the loop, and [`low_water`], where its scans begin;
//! - [`postgres_queue`]: outbox → inbox in one statement (the default);
//! - [`stream`]: outbox → RabbitMQ, and [`broker`], one batch of it with confirms;
//! - [`upkeep`]: partitions made ahead of time and dropped after theirs, gauges.
//!
//! Invariant: a row is marked published only after its delivery is certain, and only under a lease that is ours.

mod broker;
mod leases;
mod low_water;
mod postgres_queue;
mod relay;
mod stream;
mod store;
mod upkeep;

use messaging::{RetentionConfig, TransportConfig, Wakeup};
use runtime::{Clock, Tasks};
use sqlx::PgPool;

pub use leases::LEASE;

use leases::Lane;
use relay::Relay;

const LANES: i16 = 2;

/// The relay's own settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Rows forwarded together (1 to 10000).
    #[arg(long = "relay-batch", env = "RELAY_BATCH", default_value_t = 1_000,
          value_parser = clap::value_parser!(i64).range(1..=10_000))]
    pub batch: i64,
    /// Lanes that forward beside each other, each a part of the shards (1 to 16).
    #[arg(long = "relay-lanes", env = "RELAY_LANES", default_value_t = LANES, value_parser = clap::value_parser!(i16).range(1..=16))]
    pub lanes: i16,
    /// Times a row is tried before it is parked (1 to 1000).
    #[arg(long = "relay-max-attempts", env = "RELAY_MAX_ATTEMPTS", default_value_t = 20,
          value_parser = clap::value_parser!(i32).range(1..=1_000))]
    pub max_attempts: i32,
    #[command(flatten)]
    pub retention: RetentionConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self { batch: 1_000, lanes: LANES, max_attempts: 20, retention: RetentionConfig::default() }
    }
}

/// Starts the relay: leases, forwarding and upkeep.
///
/// `name` tells this instance from others in leases and logs; it must be unique among living relays.
pub fn start(
    pool: &PgPool,
    transport: &TransportConfig,
    settings: &Settings,
    name: &str,
    clock: &Clock,
    tasks: &Tasks,
) {
    let leases = leases::start(pool.clone(), name.to_owned(), tasks);
    upkeep::start(pool, settings.retention.days, name, clock, tasks);
    let wakeup = Wakeup::start(pool, messaging::outbox::CHANNEL, tasks);
    for lane in Lane::all(settings.lanes) {
        let (transport, settings, name) = (transport.clone(), settings.clone(), name.to_owned());
        let relay = Relay::new(pool.clone(), transport, settings, name, lane, leases.clone(), wakeup.clone());
        tasks.spawn("relay", relay.run(tasks.clone()));
    }
}
