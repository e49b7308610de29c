//! Events → the shop's own systems, by the Standard Webhooks specification: what the console and the API register as an endpoint gets
//! each event that it wants at least once, and those of one entity in order.
//!
//! - [`feed`] follows the log, and records a delivery for each event and endpoint;
//! - [`deliverer`] takes what is due, and settles it;
//! - [`sender`] signs and sends, and refuses to send into our own network;
//! - [`schedule`]: when a failed delivery is tried again, and when it and its endpoint are given up;
//! - [`store`]: the SQL.
//!
//! Invariants: a delivery is recorded in the order of the log, and settled once. A later version of an entity is not sent to an endpoint
//! before the earlier ones are settled there.

mod feed;
mod deliverer;
mod sender;
mod schedule;
mod store;

use std::sync::Arc;
use std::time::Duration;

use access::ConsistencyKey;
use messaging::log::Follower;
use runtime::{Clock, Ids, Tasks};
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::alerts::Alerts;
use deliverer::Deliverer;
use feed::Feed;
use sender::Sender;

/// How often the feed looks for events without a wake-up.
const FEED_POLL: Duration = Duration::from_millis(200);
/// Events recorded at once.
const FEED_BATCH: i64 = 500;

/// How webhooks are sent.
#[derive(Debug, Clone, clap::Args)]
pub struct WebhookSettings {
    /// Whether webhooks may go to private addresses and over plain HTTP, as on a developer's machine. In production that would let
    /// a person who registers an endpoint reach into the shop's network.
    #[arg(long, env = "WEBHOOK_ALLOW_PRIVATE", default_value_t = false, action = clap::ArgAction::Set)]
    pub webhook_allow_private: bool,
    /// Seconds within which an endpoint must answer.
    #[arg(long, env = "WEBHOOK_TIMEOUT_SECONDS", default_value = "15", value_parser = runtime::config::seconds)]
    pub webhook_timeout: Duration,
    /// Webhooks under way at the same time (1 to 1000); a quarter of them to one endpoint.
    #[arg(long, env = "WEBHOOK_SLOTS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub webhook_slots: u16,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { webhook_allow_private: false, webhook_timeout: Duration::from_secs(15), webhook_slots: 64 }
    }
}

/// Starts feed and deliverer. `name` identifies this process in leases.
pub(crate) async fn start(
    pool: &PgPool,
    settings: &WebhookSettings,
    alerts: &Alerts,
    name: &str,
    clock: &Clock,
    ids: &Ids,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let key = ConsistencyKey::load(pool).await?;
    let sender = Sender::new(settings)?;
    let recorded = Arc::new(Notify::new());
    let feed = Feed { pool: pool.clone(), recorded: recorded.clone() };
    Follower::start(feed, pool, name.to_owned(), FEED_BATCH, FEED_POLL, tasks);
    let deliverer =
        Deliverer::new(pool.clone(), sender, key, alerts.clone(), clock.clone(), ids.clone(), settings, recorded);
    tasks.spawn("webhooks", deliverer.run(tasks.clone()));
    Ok(())
}
