//! Sending events again. Each keeps its id, so whoever has consumed it drops it: its effect happens at most once.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use runtime::database::in_transaction;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::acts::{self, Kind, Operator};
use super::{Acted, OperationError, hints};

/// Events replayed in one transaction.
const BATCH: i64 = 500;

/// Which events; what is given narrows it down, and something must be. Events that have never been tried are left
/// alone, and those that were skipped unless they are named.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// This event; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    #[schema(max_items = 1000)]
    pub ids: Vec<Uuid>,
    /// Of this type, as order.shipped.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Of this order, return, invoice or refund.
    #[arg(long = "aggregate", value_name = "ID")]
    pub aggregate_id: Option<Uuid>,
    /// That happened at this time or later; RFC 3339.
    #[arg(long)]
    pub from: Option<DateTime<Utc>>,
    /// That happened before this time; RFC 3339.
    #[arg(long)]
    pub to: Option<DateTime<Utc>>,
    /// That are parked.
    #[arg(long)]
    pub parked: bool,
}

/// What a replay would send.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Preview {
    pub events: u64,
    pub groups: Vec<Group>,
}

/// Events that are alike.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Group {
    pub event_type: String,
    /// `PUBLISHED`, `BACK_OFF`, or why they are parked.
    pub state: String,
    pub events: i64,
}

impl Selection {
    /// # Errors
    /// For a selection of everything, a time that ends before it begins, and ids that no event has.
    async fn check(&self, pool: &PgPool) -> Result<(), OperationError> {
        let Self { ids, event_type, aggregate_id, from, to, parked } = self;
        let given = !ids.is_empty() || event_type.is_some() || aggregate_id.is_some() || *parked;
        if !given && from.is_none() && to.is_none() {
            let message = "must name ids, a type, an aggregate, a time, or what is parked".to_owned();
            return Err(OperationError::Invalid("selection", message));
        }
        if from.zip(*to).is_some_and(|(from, to)| to <= from) {
            return Err(OperationError::Invalid("to", "must be after from".to_owned()));
        }
        let unknown = sqlx::query_scalar!(
            r#"
            select id as "id!" from unnest($1::uuid[]) as id
            where not exists (select from messaging.outbox where event_id = id) limit 1
            "#,
            ids,
        );
        match unknown.fetch_optional(pool).await? {
            Some(id) => Err(OperationError::EventNotFound(id)),
            None => Ok(()),
        }
    }
}

/// A query over the selected events: its text up to `where`, and after.
macro_rules! selecting {
    ($selection:expr, $before:literal, $after:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query!(
            $before
                + r#"
                    (cardinality($1::uuid[]) = 0 or event_id = any($1))
                    and ($2::text is null or event_type = $2) and ($3::uuid is null or aggregate_id = $3)
                    and ($4::timestamptz is null or occurred_at >= $4) and ($5::timestamptz is null or occurred_at < $5)
                    and (not $6::boolean or parked_at is not null)
                    and (published_at is not null or parked_at is not null or attempts > 0)
                    and (parked_reason is distinct from 'SKIPPED' or cardinality($1) > 0)
                "#
                + $after,
            &$selection.ids,
            $selection.event_type,
            $selection.aggregate_id,
            $selection.from,
            $selection.to,
            $selection.parked
            $(, $argument)*
        )
    };
}

/// What a replay would send; nothing is changed.
pub async fn preview(pool: &PgPool, selection: &Selection) -> Result<Preview, OperationError> {
    selection.check(pool).await?;
    let rows = selecting!(
        selection,
        r#"
        select event_type, coalesce(parked_reason, case when published_at is null then 'BACK_OFF' else 'PUBLISHED' end) as "state!",
               count(*) as "events!"
        from messaging.outbox
        where
        "#,
        "group by 1, 2 order by 1, 2"
    );
    let groups = rows.fetch_all(pool).await?;
    let groups: Vec<_> = groups
        .into_iter()
        .map(|row| Group { event_type: row.event_type, state: row.state, events: row.events })
        .collect();
    let events = groups.iter().map(|group| group.events.unsigned_abs()).sum();
    Ok(Preview { events, groups })
}

/// Sends the selected events again, at most so many in a second.
///
/// Each batch is a transaction of its own with its act, so whatever ends it half-way, the record says how far it came.
pub async fn replay(
    pool: &PgPool,
    selection: &Selection,
    per_second: Option<NonZeroU32>,
    operator: &Operator,
) -> Result<Acted, OperationError> {
    selection.check(pool).await?;
    let started = Instant::now();
    let end = end(pool).await?;
    let limit = per_second.map_or(BATCH, |rate| BATCH.min(i64::from(rate.get())));
    let mut page = Page { after: Uuid::nil(), end, limit };
    let mut rows_changed = 0;
    loop {
        let replayed = replay_batch(pool, selection.clone(), page, operator.clone()).await?;
        let Some(last) = replayed.last() else { return Ok(Acted { rows_changed }) };
        page.after = *last;
        rows_changed += replayed.len() as u64;
        hints::wake_relays(pool).await;
        if let Some(rate) = per_second {
            tokio::time::sleep_until((started + time_for(rows_changed, rate)).into()).await;
        }
    }
}

/// Where a replay ends, however many events happen meanwhile. Ids come from clocks that may be ahead of the database's.
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
                acts::record(conn, &operator, Kind::Replay, target, replayed.len() as u64).await?;
            }
            Ok(replayed)
        })
    })
    .await
}

/// An attempt on record makes the later events of the same aggregate wait for this one; a new position puts it where
/// the relay looks next.
async fn set_pending(conn: &mut PgConnection, selection: &Selection, page: Page) -> sqlx::Result<Vec<Uuid>> {
    let rows = selecting!(
        selection,
        "with picked as materialized (select event_id from messaging.outbox where",
        r#"
              and event_id > $7 and event_id < $8
            order by event_id
            limit $9
            for update
        )
        update messaging.outbox as row
        set published_at = null, parked_at = null, parked_reason = null, next_attempt_at = null, last_error = null,
            attempts = greatest(attempts, 1), position = default
        from picked where row.event_id = picked.event_id
        returning row.event_id
        "#,
        page.after,
        page.end,
        page.limit,
    );
    let mut replayed: Vec<Uuid> = rows.fetch_all(conn).await?.into_iter().map(|row| row.event_id).collect();
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
