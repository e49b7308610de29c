//! Which events a replay sends, and the walk through the log that finds them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::OperationError;

/// Events of the log that one statement looks at, at most, however few of them are selected.
pub(super) const WINDOW: i64 = 5_000;

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
    #[arg(long = "type", value_name = "TYPE", value_parser = crate::values::event_type(), hide_possible_values = true)]
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

impl Selection {
    /// # Errors
    /// For an empty selection, a time span that ends before it begins, and ids that no event has.
    pub(crate) async fn check(&self, pool: &PgPool) -> Result<(), OperationError> {
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

/// Where a statement looks: at so many events of the log, in the order of their ids.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Page {
    after: Uuid,
    end: Uuid,
    window: i64,
    /// Selected events that it takes, at most.
    limit: i64,
}

impl Page {
    /// From the first event that may be selected to the last one, however many occur meanwhile.
    ///
    /// Ids come from clocks that may be ahead of the database's. The time in an id and the one at which the event occurred are
    /// of one clock and seconds apart; an hour is more than they ever differ.
    pub(crate) async fn first(pool: &PgPool, selection: &Selection, limit: i64) -> sqlx::Result<Self> {
        let bounds = sqlx::query!(
            r#"
            select messaging.lowest_event_id(greatest($1::timestamptz - interval '1 hour', to_timestamp(0))) as "after!",
                   messaging.lowest_event_id(greatest(to_timestamp(0), least($2::timestamptz + interval '1 hour',
                                                                             clock_timestamp() + interval '1 minute'))) as "end!"
            "#,
            selection.from,
            selection.to,
        )
        .fetch_one(pool)
        .await?;
        Ok(Self { after: bounds.after, end: bounds.end, window: WINDOW, limit })
    }

    /// The same page, with so many events at most.
    pub(crate) const fn with_limit(self, limit: i64) -> Self {
        Self { limit, ..self }
    }
}

/// Selected events of one type in one state.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) event_type: String,
    pub(crate) state: String,
    pub(crate) event_ids: Vec<Uuid>,
}

/// What one statement found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) groups: Vec<Group>,
    /// None at the end.
    pub(crate) next: Option<Page>,
}

/// Finds the next selected events.
///
/// It looks at the events with the given ids, at the parked ones, or else at a window of the log. An event that no relay has
/// tried is among the pending ones; only those above the marks can be.
pub(crate) async fn find(conn: &mut PgConnection, selection: &Selection, page: Page) -> sqlx::Result<Found> {
    let rows = sqlx::query!(
        r#"
        with seen as materialized (
            (select event_id, position, shard, event_type, aggregate_id, occurred_at
             from messaging.outbox
             where event_id = any($1::uuid[]) and event_id > $2 and event_id < $3
             order by event_id limit $4)
            union all
            (select event_id, event.position, event.shard, event_type, event.aggregate_id, occurred_at
             from messaging.outbox_exceptions as exception join messaging.outbox as event using (event_id)
             where $5::boolean and cardinality($1) = 0 and status = 'PARKED' and event_id > $2 and event_id < $3
             order by event_id limit $4)
            union all
            (select event_id, position, shard, event_type, aggregate_id, occurred_at
             from messaging.outbox
             where not $5 and cardinality($1) = 0 and event_id > $2 and event_id < $3
             order by event_id limit $4)
        ), untried as materialized (
            select event_id from messaging.pending_events
            where event_id = any(array(select event_id from seen
                                       join messaging.last_marks as last on consumer = 'relay' and last.shard = seen.shard
                                       where position > mark))
        ), picked as materialized (
            select event_id, event_type,
                   coalesce(case status when 'WAITING' then 'BACK_OFF' when 'PARKED' then parked_reason else status end,
                            'PUBLISHED') as state
            from seen left join messaging.outbox_exceptions as exception using (event_id)
            where ($6::text is null or event_type = $6) and ($7::uuid is null or seen.aggregate_id = $7)
              and ($8::timestamptz is null or occurred_at >= $8) and ($9::timestamptz is null or occurred_at < $9)
              and (not $5 or status in ('PARKED', 'SKIPPED'))
              and (status is distinct from 'SKIPPED' or cardinality($1) > 0)
              and not exists (select from untried where untried.event_id = seen.event_id)
            order by event_id
            limit $10
        )
        select looked_at as "looked_at!", last_seen, event_type as "event_type?", state as "state?", event_ids as "event_ids?"
        from (select count(*) as looked_at, (array_agg(event_id order by event_id desc))[1] as last_seen from seen) as window_seen
        left join (select event_type, state, array_agg(event_id order by event_id) as event_ids
                   from picked group by event_type, state) as found on true
        order by event_type, state
        "#,
        &selection.ids,
        page.after,
        page.end,
        page.window,
        selection.parked,
        selection.event_type,
        selection.aggregate_id,
        selection.from,
        selection.to,
        page.limit,
    )
    .fetch_all(conn)
    .await?;
    let last_seen = rows.first().and_then(|row| row.last_seen.filter(|_| row.looked_at >= page.window));
    let groups: Vec<_> = rows
        .into_iter()
        .filter_map(|row| Some(Group { event_type: row.event_type?, state: row.state?, event_ids: row.event_ids? }))
        .collect();
    let picked: usize = groups.iter().map(|group| group.event_ids.len()).sum();
    let next = if i64::try_from(picked).is_ok_and(|picked| picked >= page.limit) {
        // What lies behind the last of them is read again, so it should not be much.
        let last_picked = groups.iter().flat_map(|group| &group.event_ids).max().copied();
        last_picked.map(|after| Page { after, window: (2 * page.limit).min(WINDOW), ..page })
    } else {
        last_seen.map(|after| Page { after, window: WINDOW, ..page })
    };
    Ok(Found { groups, next })
}
