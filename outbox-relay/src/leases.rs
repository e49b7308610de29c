//! Leases on shards. Exactly one relay publishes a shard at a time, so the order within an aggregate needs no
//! coordination.

use std::time::Duration;

use runtime::Tasks;
use runtime::database::{limited, within};
use sqlx::PgPool;
use tokio::sync::watch;

use crate::shards::Leases;
use crate::store;

/// How long a lease lasts on the database's clock. A relay that was killed is replaced after at most this long and one
/// [`RENEW`]: less than the 10 s that are promised, with room for a busy database.
pub const LEASE: Duration = Duration::from_secs(7);
/// How often a relay renews its leases and takes those that others have lost. Three renewals may fail before a lease is
/// lost.
const RENEW: Duration = Duration::from_millis(1_500);

/// Keeps leases until shutdown and then gives them up, so that a successor need not wait until they expire.
pub(crate) fn start(pool: PgPool, name: String, tasks: &Tasks) -> watch::Receiver<Leases> {
    let (held, receiver) = watch::channel(Leases::default());
    let shutdown = tasks.shutdown.clone();
    tasks.spawn("relay leases", async move {
        loop {
            renew(&pool, &name, &held).await;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(RENEW) => {}
            }
        }
        held.send_replace(Leases::default());
        if let Err(error) = limited(store::release_leases(&pool, &name)).await {
            tracing::warn!(%error, "could not release leases; a successor waits until they expire");
        }
    });
    receiver
}

async fn renew(pool: &PgPool, name: &str, held: &watch::Sender<Leases>) {
    // A renewal that takes longer than a lease is useless.
    match within(LEASE, store::renew_leases(pool, name, LEASE)).await {
        Ok(leases) => {
            held.send_if_modified(|current| {
                let changed = *current != leases;
                if changed {
                    tracing::info!(relay = name, shards = ?leases.shards, "shards leased");
                    *current = leases;
                }
                changed
            });
        }
        // The old leases stay in use: if they have expired, every mark under them is refused.
        Err(error) => tracing::warn!(%error, "could not renew leases"),
    }
}
