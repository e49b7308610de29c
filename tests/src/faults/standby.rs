//! The replica of the run's Postgres. Commits wait for it, so it lacks nothing that a client or a process was told.

use std::time::Duration;

use anyhow::Result;
use embedded::postgres::{Options, PrivateCluster, Upstream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How long a replica may take to have everything. It is never harmed, and a primary that has just been restarted is back.
pub(super) const CAUGHT_UP: Duration = Duration::from_secs(30);
/// How long all attempts to make a replica may take.
const BUILT_WITHIN: Duration = Duration::from_secs(170);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// The replica, or the task that makes it.
#[derive(Debug)]
pub(super) struct Standby {
    /// The first is the place of the primary, the second that of the replica.
    places: [Options; 2],
    building: Option<JoinHandle<Result<PrivateCluster>>>,
}

impl Standby {
    /// Begins to make a replica.
    pub(super) fn start(primary: Upstream, places: [Options; 2]) -> Self {
        let mut standby = Self { places, building: None };
        standby.begin(primary);
        standby
    }

    /// The replica; `None` while it is not complete. The caller promotes it.
    pub(super) async fn take(&mut self) -> Result<Option<PrivateCluster>> {
        match self.building.take_if(|building| building.is_finished()) {
            Some(built) => Ok(Some(built.await??)),
            None => Ok(None),
        }
    }

    /// Begins to make a replica of what was the replica, where its primary was.
    pub(super) fn build(&mut self, primary: Upstream) {
        self.places.swap(0, 1);
        self.begin(primary);
    }

    fn begin(&mut self, primary: Upstream) {
        self.building = Some(tokio::spawn(build(primary, self.places[1].clone())));
    }

    /// Stops the replica. The primary must have been stopped: that ends a copy which is being made.
    pub(super) async fn stop(self) {
        if let Some(building) = self.building {
            building.abort();
            if let Ok(Ok(replica)) = building.await {
                replica.stop().await;
            }
        }
    }
}

/// Tries again until it succeeds: a crash of the primary ends an attempt.
async fn build(primary: Upstream, place: Options) -> Result<PrivateCluster> {
    let until = Instant::now() + BUILT_WITHIN;
    let replica = loop {
        match primary.replicate(place.clone()).await {
            Err(error) if Instant::now() >= until => return Err(error.context("no replica could be made")),
            Err(_) => sleep(PAUSE).await,
            Ok(replica) => break replica,
        }
    };
    loop {
        match commit_on_replica(&primary).await {
            Err(error) if Instant::now() >= until => return Err(error.context("commits do not wait for the replica")),
            Err(_) => sleep(PAUSE).await,
            Ok(()) => return Ok(replica),
        }
    }
}

async fn commit_on_replica(primary: &Upstream) -> Result<()> {
    primary.commit_on_replica().await?;
    primary.caught_up(CAUGHT_UP).await
}
