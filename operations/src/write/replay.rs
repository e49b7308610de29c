//! Replaying events: the relay sends them again. Each keeps its id, so a consumer that already has it drops the copy.

mod selection;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use runtime::database::in_transaction;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::skip::WAS_SKIPPED;
use super::{Changed, hints};
use crate::OperationError;

use selection::WINDOW;

pub use selection::Selection;
pub(super) use selection::{Page, find};

/// Most events that one request replays, so that it ends before its time-out.
const MOST_AT_ONCE: u64 = 10_000;
/// Events replayed in one transaction.
const BATCH: i64 = 500;
/// A replay waits while a shard has this many events that are not out. At twice as many the relay would stop there.
const MOST_OPEN: i64 = 5_000;
/// How long a replay waits for the relay, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a replay would send.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Preview {
    pub events: u64,
    pub groups: Vec<Group>,
}

/// Events of one type in one state.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Group {
    pub event_type: String,
    /// `PUBLISHED`, `BACK_OFF`, `HELD` behind an earlier event, why they are parked, or `SKIPPED`.
    pub state: String,
    pub events: i64,
}

/// Counts what a replay would send; changes nothing.
pub async fn preview(pool: &PgPool, selection: &Selection) -> Result<Preview, OperationError> {
    selection.check(pool).await?;
    let mut page = Page::first(pool, selection, WINDOW).await?;
    let mut counts = BTreeMap::<(String, String), i64>::new();
    loop {
        let found = find(&mut *pool.acquire().await?, selection, page).await?;
        for group in found.groups {
            let events = i64::try_from(group.event_ids.len()).unwrap_or(i64::MAX);
            *counts.entry((group.event_type, group.state)).or_default() += events;
        }
        let Some(next) = found.next else { break };
        page = next;
    }
    let groups = counts.into_iter().map(|((event_type, state), events)| Group { event_type, state, events });
    let groups: Vec<_> = groups.collect();
    let events = groups.iter().map(|group| group.events.unsigned_abs()).sum();
    Ok(Preview { events, groups })
}

/// Replays the selected events, at most `per_second` of them in a second. Events that are held behind an earlier one, and those
/// that are due already, count as replayed: they go out anyway.
///
/// Each batch is a transaction of its own with its own record, so the record is right even when a replay is interrupted.
///
/// # Errors
/// [`OperationError::ReplayStalled`] when the relay does not keep up. The batches before that are replayed.
pub async fn replay(
    pool: &PgPool,
    selection: &Selection,
    per_second: Option<NonZeroU32>,
    operator: &Operator,
) -> Result<Changed, OperationError> {
    let (changed, _) = replay_while(pool, selection, per_second, operator, |_| ControlFlow::Continue(())).await?;
    Ok(changed)
}

/// As [`replay`], but for one request: counts first, and refuses more than it can replay before its time-out.
///
/// # Errors
/// [`OperationError::ReplayTooLarge`], then nothing is replayed; and as [`replay`].
pub(crate) async fn replay_at_once(
    pool: &PgPool,
    selection: &Selection,
    operator: &Operator,
) -> Result<(Preview, Changed), OperationError> {
    let selected = preview(pool, selection).await?;
    if selected.events > MOST_AT_ONCE {
        return Err(OperationError::ReplayTooLarge { events: selected.events, limit: MOST_AT_ONCE });
    }
    let changed = replay(pool, selection, None, operator).await?;
    Ok((selected, changed))
}

/// As [`replay`], and tells `progress` before each batch how many events are replayed. A break ends it there, and then the answer is false:
/// it is not complete.
///
/// # Errors
/// As [`replay`].
pub async fn replay_while(
    pool: &PgPool,
    selection: &Selection,
    per_second: Option<NonZeroU32>,
    operator: &Operator,
    mut progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<(Changed, bool), OperationError> {
    selection.check(pool).await?;
    let started = Instant::now();
    let limit = per_second.map_or(BATCH, |rate| BATCH.min(i64::from(rate.get())));
    let mut page = Page::first(pool, selection, limit).await?;
    let (mut rows_changed, mut stalled_since) = (0, None);
    loop {
        if progress(rows_changed).is_break() {
            return Ok((Changed { rows_changed }, false));
        }
        let (replayed, next) = match replay_batch(pool, selection.clone(), page, operator.clone()).await? {
            Batch::Replayed { event_ids, next } => (event_ids.len() as u64, next),
            Batch::NoRoom { shard } => {
                if stalled_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                    return Err(OperationError::ReplayStalled { shard, replayed: rows_changed });
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
        };
        stalled_since = None;
        rows_changed += replayed;
        if replayed > 0 {
            hints::wake_relays(pool).await;
        }
        let Some(next) = next else { return Ok((Changed { rows_changed }, true)) };
        page = next;
        if let Some(rate) = per_second {
            tokio::time::sleep_until((started + time_for(rows_changed, rate)).into()).await;
        }
    }
}

/// How long so many events take at a rate per second.
fn time_for(events: u64, rate: NonZeroU32) -> Duration {
    Duration::from_micros(events.saturating_mul(1_000_000) / u64::from(rate.get()))
}

/// What one transaction did.
#[derive(Debug)]
pub(super) enum Batch {
    /// It replayed these events. There is no next page at the end.
    Replayed { event_ids: Vec<Uuid>, next: Option<Page> },
    /// Nothing: too many events of this shard are not out.
    NoRoom { shard: i16 },
}

async fn replay_batch(
    pool: &PgPool,
    selection: Selection,
    page: Page,
    operator: Operator,
) -> Result<Batch, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let batch = send(conn, &selection, page).await?;
            if let Batch::Replayed { event_ids, .. } = &batch
                && !event_ids.is_empty()
            {
                let target = json!({ "selection": selection, "event_ids": event_ids });
                record(conn, &operator, Action::Replay, target, event_ids.len() as u64).await?;
            }
            Ok(batch)
        })
    })
    .await
}

/// Makes the events of a page due.
pub(super) async fn send(conn: &mut PgConnection, selection: &Selection, page: Page) -> Result<Batch, OperationError> {
    let found = find(conn, selection, page).await?;
    let mut event_ids: Vec<Uuid> = found.groups.into_iter().flat_map(|group| group.event_ids).collect();
    event_ids.sort_unstable();
    if let Some(shard) = full_shard(conn, &event_ids).await? {
        return Ok(Batch::NoRoom { shard });
    }
    set_waiting(conn, &event_ids).await?;
    Ok(Batch::Replayed { event_ids, next: found.next })
}

/// A shard that would get more exceptions from these events, and has too many that are open.
async fn full_shard(conn: &mut PgConnection, event_ids: &[Uuid]) -> sqlx::Result<Option<i16>> {
    let (Some(lowest), Some(highest)) = (event_ids.first(), event_ids.last()) else { return Ok(None) };
    sqlx::query_scalar!(
        r#"
        with added as materialized (
            select distinct event.shard
            from messaging.outbox as event
            left join messaging.outbox_exceptions as exception on exception.event_id = event.event_id and status <> 'SKIPPED'
            where event.event_id = any($1) and event.event_id between $2 and $3 and exception.event_id is null
        )
        select shard from messaging.outbox_exceptions
        where status <> 'SKIPPED' and shard in (select shard from added)
        group by shard having count(*) >= $4
        order by shard
        limit 1
        "#,
        event_ids,
        lowest,
        highest,
        MOST_OPEN,
    )
    .fetch_optional(conn)
    .await
}

/// Makes events due. They wait behind the earlier events of their aggregates, and the later ones wait for them.
///
/// What is held, and what is due already, goes out anyway: a relay may have its row at this moment. What was skipped has its jobs
/// already, discarded: the relay would find them there and change nothing, so they become ready here.
async fn set_waiting(conn: &mut PgConnection, event_ids: &[Uuid]) -> sqlx::Result<()> {
    let (Some(lowest), Some(highest)) = (event_ids.first(), event_ids.last()) else { return Ok(()) };
    sqlx::query!(
        r#"
        update messaging.inbox as job
        set status = 'ready', run_at = messaging.due_now(queue), finished_at = null, last_error = null
        where event_id = any($1) and event_id between $2 and $3 and status = 'discarded' and last_error = $4
          and exists (select from messaging.outbox_exceptions as skipped where skipped.event_id = job.event_id and skipped.status = 'SKIPPED')
          and exists (select from messaging.queues where name = queue and not ordered)
        "#,
        event_ids,
        lowest,
        highest,
        WAS_SKIPPED,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        r#"
        insert into messaging.outbox_exceptions as exception
            (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, next_attempt_at)
        select event_id, position, shard, aggregate_id, aggregate_version, 'WAITING', 1, clock_timestamp()
        from messaging.outbox as event
        where event_id = any($1) and event_id between $2 and $3
          and not exists (
              select from messaging.outbox_exceptions as open
              where open.event_id = event.event_id
                and (status = 'HELD' or status = 'WAITING' and next_attempt_at <= clock_timestamp()))
        order by event_id
        on conflict (event_id) do update
        set status = 'WAITING', attempts = greatest(exception.attempts, 1), last_error = null,
            next_attempt_at = excluded.next_attempt_at, parked_at = null, parked_reason = null
        where exception.status <> 'HELD'
        "#,
        event_ids,
        lowest,
        highest,
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_all_batches() {
        let rate = |per_second| NonZeroU32::new(per_second).expect("not zero");
        assert_eq!(time_for(0, rate(5)), Duration::ZERO);
        assert_eq!(time_for(500, rate(100)), Duration::from_secs(5));
        assert_eq!(time_for(1, rate(3)), Duration::from_micros(333_333));
    }
}
