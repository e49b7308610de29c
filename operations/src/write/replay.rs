//! Replaying events: the relay sends them again. Each keeps its id, so a consumer that already has it drops the copy.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use runtime::database::in_transaction;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::record::{Action, Operator, record};
use super::{Changed, hints};
use crate::OperationError;

/// Events replayed in one transaction.
const BATCH: i64 = 500;

/// Which events. Each field narrows the selection, and at least one is required. Events that were never tried are left out,
/// and skipped ones unless their ids are given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// The event with this id; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    #[schema(max_items = 1000)]
    pub ids: Vec<Uuid>,
    /// Events of this type, as order.shipped.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Events of this order, return, document or refund.
    #[arg(long = "aggregate", value_name = "ID")]
    pub aggregate_id: Option<Uuid>,
    /// Events that occurred at this time or later; RFC 3339.
    #[arg(long)]
    pub from: Option<DateTime<Utc>>,
    /// Events that occurred before this time; RFC 3339.
    #[arg(long)]
    pub to: Option<DateTime<Utc>>,
    /// Parked events.
    #[arg(long)]
    pub parked: bool,
}

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
    /// `PUBLISHED`, `BACK_OFF`, or why they are parked.
    pub state: String,
    pub events: i64,
}

impl Selection {
    /// # Errors
    /// For an empty selection, a time span that ends before it begins, and ids that no event has.
    async fn check(&self, pool: &PgPool) -> Result<(), OperationError> {
        let Self { ids, event_type, aggregate_id, from, to, parked } = self;
        let given = !ids.is_empty() || event_type.is_some() || aggregate_id.is_some() || *parked;
        if !given && from.is_none() && to.is_none() {
            let message = "must give ids, a type, an aggregate, a time, or parked".to_owned();
            return Err(OperationError::Invalid("selection", message));
        }
        if from.zip(*to).is_some_and(|(from, to)| to <= from) {
            return Err(OperationError::Invalid("to", "must be after from".to_owned()));
        }
        let unknown = sqlx::query_scalar!(
            r#"
            select id as "id!" from unnest($1::uuid[]) as id
            where not exists (select from messaging.outbox where event_id = id)
            limit 1
            "#,
            ids,
        );
        match unknown.fetch_optional(pool).await? {
            Some(id) => Err(OperationError::EventNotFound(id)),
            None => Ok(()),
        }
    }
}

/// Counts what a replay would send; changes nothing.
pub async fn preview(pool: &PgPool, selection: &Selection) -> Result<Preview, OperationError> {
    selection.check(pool).await?;
    let groups = sqlx::query_as!(
        Group,
        r#"
        select event_type, coalesce(parked_reason, case when published_at is null then 'BACK_OFF' else 'PUBLISHED' end) as "state!",
               count(*) as "events!"
        from messaging.outbox
        where (cardinality($1::uuid[]) = 0 or event_id = any($1))
          and ($2::text is null or event_type = $2) and ($3::uuid is null or aggregate_id = $3)
          and ($4::timestamptz is null or occurred_at >= $4) and ($5::timestamptz is null or occurred_at < $5)
          and (not $6::boolean or parked_at is not null)
          and (published_at is not null or parked_at is not null or attempts > 0)
          and (parked_reason is distinct from 'SKIPPED' or cardinality($1) > 0)
        group by 1, 2
        order by 1, 2
        "#,
        &selection.ids,
        selection.event_type,
        selection.aggregate_id,
        selection.from,
        selection.to,
        selection.parked,
    )
    .fetch_all(pool)
    .await?;
    let events = groups.iter().map(|group| group.events.unsigned_abs()).sum();
    Ok(Preview { events, groups })
}

/// Replays the selected events, at most `per_second` of them in a second.
///
/// Each batch is a transaction of its own with its own record, so the record is right even when a replay is interrupted.
pub async fn replay(
    pool: &PgPool,
    selection: &Selection,
    per_second: Option<NonZeroU32>,
    operator: &Operator,
) -> Result<Changed, OperationError> {
    selection.check(pool).await?;
    let started = Instant::now();
    let end = end(pool).await?;
    let limit = per_second.map_or(BATCH, |rate| BATCH.min(i64::from(rate.get())));
    let mut page = Page { after: Uuid::nil(), end, limit };
    let mut rows_changed = 0;
    loop {
        let replayed = replay_batch(pool, selection.clone(), page, operator.clone()).await?;
        let Some(last) = replayed.last() else { return Ok(Changed { rows_changed }) };
        page.after = *last;
        rows_changed += replayed.len() as u64;
        hints::wake_relays(pool).await;
        if let Some(rate) = per_second {
            tokio::time::sleep_until((started + time_for(rows_changed, rate)).into()).await;
        }
    }
}

/// Where a replay ends, however many events occur meanwhile. Ids come from clocks that may be ahead of the database's.
async fn end(pool: &PgPool) -> sqlx::Result<Uuid> {
    sqlx::query_scalar!(r#"select messaging.lowest_event_id(clock_timestamp() + interval '1 minute') as "end!""#)
        .fetch_one(pool)
        .await
}

/// How long so many events take at a rate per second.
fn time_for(events: u64, rate: NonZeroU32) -> Duration {
    Duration::from_micros(events.saturating_mul(1_000_000) / u64::from(rate.get()))
}

/// The next events of a selection, in the order of their ids.
#[derive(Debug, Clone, Copy)]
struct Page {
    after: Uuid,
    end: Uuid,
    limit: i64,
}

async fn replay_batch(
    pool: &PgPool,
    selection: Selection,
    page: Page,
    operator: Operator,
) -> Result<Vec<Uuid>, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let replayed = set_pending(conn, &selection, page).await?;
            if !replayed.is_empty() {
                let target = json!({ "selection": selection, "event_ids": replayed });
                record(conn, &operator, Action::Replay, target, replayed.len() as u64).await?;
            }
            Ok(replayed)
        })
    })
    .await
}

/// Picks the next events under the conditions of [`preview`] and makes them pending. With an attempt on record, the later
/// events of the same aggregate wait for this one; a new position puts it where the relay scans next.
async fn set_pending(conn: &mut PgConnection, selection: &Selection, page: Page) -> sqlx::Result<Vec<Uuid>> {
    let mut replayed = sqlx::query_scalar!(
        r#"
        with picked as materialized (
            select event_id
            from messaging.outbox
            where (cardinality($1::uuid[]) = 0 or event_id = any($1))
              and ($2::text is null or event_type = $2) and ($3::uuid is null or aggregate_id = $3)
              and ($4::timestamptz is null or occurred_at >= $4) and ($5::timestamptz is null or occurred_at < $5)
              and (not $6::boolean or parked_at is not null)
              and (published_at is not null or parked_at is not null or attempts > 0)
              and (parked_reason is distinct from 'SKIPPED' or cardinality($1) > 0)
              and event_id > $7 and event_id < $8
            order by event_id
            limit $9
            for update
        )
        update messaging.outbox as event
        set published_at = null, parked_at = null, parked_reason = null, next_attempt_at = null, last_error = null,
            attempts = greatest(attempts, 1), position = default
        from picked
        where event.event_id = picked.event_id
        returning event.event_id
        "#,
        &selection.ids,
        selection.event_type,
        selection.aggregate_id,
        selection.from,
        selection.to,
        selection.parked,
        page.after,
        page.end,
        page.limit,
    )
    .fetch_all(conn)
    .await?;
    replayed.sort_unstable();
    Ok(replayed)
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
