//! Waits until everything has gone through the system.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::system::Database;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A system that has not changed for this long is stuck.
const PATIENCE: Duration = Duration::from_secs(300);

/// Returns when relays and projectors have passed every event, and no job is open.
///
/// # Errors
/// When a job is dead, or nothing changes any more.
pub(crate) async fn until_settled(database: &Database) -> Result<()> {
    let (mut last, mut changed) = ((0, 0), Instant::now());
    loop {
        let (behind, open, dead): (i64, i64, i64) =
            sqlx::query_as(include_str!("../sql/settled.sql")).fetch_one(&database.pool).await?;
        ensure!(dead == 0, "{dead} jobs are dead");
        if behind <= 0 && open == 0 {
            return Ok(());
        }
        if (behind, open) != last {
            (last, changed) = ((behind, open), Instant::now());
        }
        ensure!(changed.elapsed() < PATIENCE, "nothing moves: {behind} positions behind, {open} jobs open");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
