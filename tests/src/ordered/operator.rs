//! The operator of a run: he skips what no release knows, retries or discards what is dead, and disturbs the rest.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use operations::OperationError;
use operations::write::replay::{self, Selection};
use operations::write::retry::{self, DeadJobs};
use operations::write::{Operator, Source, discard, release, skip};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use super::{QUEUE, Run};

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(100);
/// Events that a round replays.
const REPLAYED: usize = 10;

/// Acts until the run ends.
pub(super) async fn operate(run: &Run, seed: u64) -> Result<()> {
    let pool = run.database.pool_as(operations::ROLE).await?;
    let mut chance = StdRng::seed_from_u64(seed ^ 2);
    let operator = Operator::new("anita", Source::Cli, "the proof of the ordered queues", None)?;
    while !run.stop.is_cancelled() {
        skip_unknown(&pool, &operator).await?;
        retry_or_discard(&pool, &operator, &mut chance).await?;
        release_running(&pool, &operator).await?;
        replay_some(run, &pool, &operator, &mut chance).await?;
        tokio::select! { () = run.stop.cancelled() => {}, () = sleep(ROUND) => {} }
    }
    Ok(())
}

async fn ids(pool: &PgPool, query: &'static str) -> Result<Vec<Uuid>> {
    Ok(sqlx::query_scalar(query).fetch_all(pool).await?)
}

/// The relay would try such an event again for an hour. While it does, it cannot be skipped.
async fn skip_unknown(pool: &PgPool, operator: &Operator) -> Result<()> {
    let waiting = "select event_id from messaging.outbox_exceptions
                   where status = 'WAITING' and last_error is not null and next_attempt_at > clock_timestamp() limit 20";
    for id in ids(pool, waiting).await? {
        match skip::skip(pool, id, operator.clone()).await {
            Ok(_) | Err(OperationError::EventNotSkippable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn retry_or_discard(pool: &PgPool, operator: &Operator, chance: &mut StdRng) -> Result<()> {
    let (mut retried, mut discarded) = (Vec::new(), Vec::new());
    for id in ids(pool, "select event_id from messaging.dead_letters limit 50").await? {
        if chance.random_bool(0.6) { retried.push(id) } else { discarded.push(id) }
    }
    if !retried.is_empty() {
        let selection = DeadJobs { event_ids: retried, queue: Some(QUEUE), ..DeadJobs::default() };
        retry::retry(pool, &selection, operator).await?;
    }
    for id in discarded {
        discard::discard(pool, id, Some(QUEUE), operator.clone()).await?;
    }
    Ok(())
}

/// Takes a job from its worker, if it still runs.
async fn release_running(pool: &PgPool, operator: &Operator) -> Result<()> {
    for id in ids(pool, "select event_ids[1] from messaging.claims order by claim_id desc limit 1").await? {
        match release::release(pool, id, Some(QUEUE), operator.clone()).await {
            Ok(_) | Err(OperationError::NothingToRelease { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends events again, most of which have arrived before.
async fn replay_some(run: &Run, pool: &PgPool, operator: &Operator, chance: &mut StdRng) -> Result<()> {
    let appended = run.appended.load(Ordering::Relaxed);
    let picked = (0..REPLAYED).filter_map(|_| run.events.get(chance.random_range(..=appended)));
    let ids: Vec<Uuid> = picked.filter(|event| !event.unknown).map(|event| event.id).collect();
    if appended > 0 && !ids.is_empty() {
        replay::replay(pool, &Selection { ids, ..Selection::default() }, None, operator).await?;
    }
    Ok(())
}
