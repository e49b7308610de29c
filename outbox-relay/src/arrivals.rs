//! On RabbitMQ, sent is not arrived: a broker may lose what it has confirmed, and a consumer may be away for weeks. So the
//! relays look whether the events that went out have their rows in the inbox, and store up to where all of them have. Retention
//! drops nothing above that mark.

use std::time::Duration;

use messaging::leases::Leases;
use messaging::{BatchSize, log};
use runtime::Tasks;
use runtime::database::limited;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::store::arrivals;
use crate::store::forward::Routes;

/// How often a relay looks.
const EVERY: Duration = Duration::from_secs(2);
/// Most positions in one look.
const WINDOW: i64 = 5_000;

/// Looks for arrivals until shutdown.
pub(crate) fn start(pool: &PgPool, leases: watch::Receiver<Leases>, tasks: &Tasks) {
    let (pool, shutdown) = (pool.clone(), tasks.shutdown.clone());
    tasks.spawn("relay arrivals", async move {
        let (routes, mut window) = (Routes::new(), BatchSize::new("arrivals", WINDOW));
        let mut turn = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = turn.tick() => {}
            }
            let leases = leases.borrow().clone();
            if let Err(error) = follow(&pool, &leases, &routes, &mut window).await {
                tracing::warn!(%error, "could not look for arrivals; retrying in {EVERY:?}");
            }
        }
    });
}

/// Moves the mark as far as it goes, window by window.
async fn follow(pool: &PgPool, leases: &Leases, routes: &Routes, window: &mut BatchSize) -> sqlx::Result<()> {
    while !leases.shards.is_empty() {
        let rows = window.rows();
        let arrived = limited(arrivals::arrived(pool, leases, routes, rows)).await;
        let arrived = arrived.inspect_err(|error| window.failed(rows, error))?;
        window.succeeded(arrived.until - arrived.after);
        if arrived.position <= arrived.after {
            return Ok(());
        }
        limited(log::record_arrival(pool, leases, arrived.position)).await?;
        if arrived.position < arrived.until {
            return Ok(());
        }
    }
    Ok(())
}
