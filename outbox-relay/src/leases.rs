//! Which shards this instance may publish. Exactly one relay publishes a shard at a time, so the order within an
//! aggregate needs no coordination.

use std::time::Duration;

use runtime::Tasks;
use runtime::database::{limited, within};
use sqlx::PgPool;
use tokio::sync::watch;

use crate::store;

/// How long a lease lasts on the database's clock. A relay that was killed is replaced after at most this long and one
/// [`RENEW`]: less than the 10 s that are promised, with room for a busy database.
pub const LEASE: Duration = Duration::from_secs(7);
/// Three renewals may fail before a lease is lost; in each turn a relay also takes what others have lost.
const RENEW: Duration = Duration::from_millis(1_500);

/// The shards held, each with the fencing epoch under which it was taken, and how often an operator has asked for a
/// sweep of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leases {
    pub(crate) shards: Vec<i16>,
    pub(crate) epochs: Vec<i64>,
    pub(crate) sweeps: Vec<i64>,
}

impl Leases {
    /// The part of them that belongs to one of a relay's lanes. A shard belongs to the same lane always: two lanes that
    /// look at the leases at different times must not both take it for theirs.
    pub(crate) fn of_lane(&self, lane: Lane) -> Self {
        let mut part = Self::default();
        for ((shard, epoch), sweeps) in self.shards.iter().zip(&self.epochs).zip(&self.sweeps) {
            if lane.has(*shard) {
                part.shards.push(*shard);
                part.epochs.push(*epoch);
                part.sweeps.push(*sweeps);
            }
        }
        part
    }
}

/// One of the lanes of a relay: each forwards shards of its own, beside the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    number: i16,
    of: i16,
}

impl Lane {
    /// As many as are wanted.
    pub(crate) fn all(of: i16) -> impl Iterator<Item = Self> {
        (0..of).map(move |number| Self { number, of })
    }

    pub(crate) const fn has(self, shard: i16) -> bool {
        shard % self.of == self.number
    }
}

/// Keeps leases until shutdown and then gives them up, so that a successor need not wait for their expiry.
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
            tracing::warn!(%error, "leases not released; a successor waits for their expiry");
        }
    });
    receiver
}

async fn renew(pool: &PgPool, name: &str, held: &watch::Sender<Leases>) {
    // A renewal that takes longer than a lease is of no use any more.
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
        // The old leases stay in use: if they run out meanwhile, every mark under them is refused.
        Err(error) => tracing::warn!(%error, "could not renew leases"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_is_in_one_lane_and_in_the_same_whatever_else_is_held() {
        let held = |shards: &[i16]| Leases {
            shards: shards.to_vec(),
            epochs: shards.iter().map(|shard| i64::from(*shard) + 100).collect(),
            sweeps: shards.iter().map(|shard| i64::from(*shard) + 200).collect(),
        };
        let parts = |shards: &[i16]| Lane::all(3).map(|lane| held(shards).of_lane(lane)).collect::<Vec<_>>();
        assert_eq!(parts(&[0, 1, 2, 5, 6, 15]), [held(&[0, 6, 15]), held(&[1]), held(&[2, 5])]);
        assert_eq!(parts(&[5, 15]), [held(&[15]), held(&[]), held(&[5])]);
    }
}
