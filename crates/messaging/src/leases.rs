//! Leases on the shards of the log. For each consumer exactly one process reads a shard at a time, so the order within an
//! aggregate needs no coordination.

mod shards;
mod store;

use std::time::Duration;

use runtime::Tasks;
use runtime::database::{limited, within};
use sqlx::PgPool;
use tokio::sync::watch;

pub use shards::{Leases, ShardGroup};
pub use store::{fence_off, timeline};

/// How long a lease lasts on the database's clock. A reader that was killed is replaced after at most this long and one
/// [`RENEW`]: less than the 10 s that are promised, with room for a busy database.
pub const LEASE: Duration = Duration::from_secs(7);
/// How often a reader renews its leases and takes those that others have lost. Three renewals may fail before a lease is
/// lost.
const RENEW: Duration = Duration::from_millis(1_500);

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer {
    Relay,
    Projections,
    Webhooks,
}

/// The name under which it is on record up to where events have arrived in the inbox.
pub(crate) const ARRIVED: &str = "arrived";

impl Consumer {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Projections => "projections",
            Self::Webhooks => "webhooks",
        }
    }
}

/// Keeps leases until shutdown and then gives them up, so that a successor need not wait until they expire.
///
/// `name` must be unique among the living readers of this consumer. The leases are given up when every receiver has been
/// dropped: a reader that still works at shutdown keeps them until it has ended.
pub fn start(pool: PgPool, consumer: Consumer, name: String, tasks: &Tasks) -> watch::Receiver<Leases> {
    let (held, receiver) = watch::channel(Leases::default());
    let shutdown = tasks.shutdown.clone();
    tasks.spawn("shard leases", async move {
        loop {
            renew(&pool, consumer, &name, &held).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(RENEW) => {}
            }
        }
        held.closed().await;
        if let Err(error) = limited(store::release(&pool, consumer, &name)).await {
            tracing::warn!(%error, "could not release leases; a successor waits until they expire");
        }
    });
    receiver
}

async fn renew(pool: &PgPool, consumer: Consumer, name: &str, held: &watch::Sender<Leases>) {
    // A renewal that takes longer than a lease is useless.
    match within(LEASE, store::renew(pool, consumer, name, LEASE)).await {
        Ok(leases) => {
            held.send_if_modified(|current| {
                let changed = *current != leases;
                if changed {
                    tracing::info!(consumer = consumer.as_str(), reader = name, shards = ?leases.shards, "shards leased");
                    *current = leases;
                }
                changed
            });
        }
        // The old leases stay in use: if they have expired, everything recorded under them is refused.
        Err(error) => tracing::warn!(%error, "could not renew leases"),
    }
}
