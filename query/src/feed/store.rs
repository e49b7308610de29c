//! The SQL of the feed.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::Shown;

/// Positions that one statement looks at. With a filter that few events pass, a page may be empty and the next one not.
const WINDOW: i64 = 50_000;
/// The longest page, in bytes of what is stored. The first event is sent however long it is.
const MAX_BYTES: i64 = 4 * 1024 * 1024;

/// Which events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// `None`: all.
    pub(crate) types: Option<Vec<String>>,
    /// An order, and everything that belongs to it.
    pub(crate) order_id: Option<Uuid>,
}

impl Wanted {
    /// Whether a live event is among them.
    pub(crate) fn has(&self, shown: &Shown) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&shown.event_type))
            && self.order_id.is_none_or(|order| shown.order_id == Some(order))
    }
}

/// Events, and where the next page begins.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<Shown>,
    /// Everything up to here was looked at.
    pub(crate) until: i64,
}

/// An event as it is stored.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) position: i64,
    pub(super) event_id: Uuid,
    pub(super) event_type: String,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: Uuid,
    pub(super) aggregate_version: i32,
    pub(super) payload: Option<String>,
    available: i64,
}

pub(super) async fn page(
    pool: &PgPool,
    wanted: &Wanted,
    after: i64,
    settled: i64,
    limit: i64,
    shown: impl Fn(Row) -> Option<Shown>,
) -> sqlx::Result<Page> {
    let window = settled.min(after.saturating_add(WINDOW));
    let rows = sqlx::query_as!(
        Row,
        r#"
        select position as "position!", event_id as "event_id!", event_type as "event_type!", occurred_at as "occurred_at!",
               aggregate_type as "aggregate_type!", aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!",
               messaging.payload_of(event_type, added, document, audit) as payload, available as "available!"
        from (
            select event.*, count(*) over () as available,
                   coalesce(sum(stored_bytes) over (order by position rows between unbounded preceding and 1 preceding), 0)
                       as bytes_before
            from (
                select position, event_id, event_type, occurred_at, aggregate_type, aggregate_id, aggregate_version, added, audit,
                       document, stored_bytes
                from messaging.events
                where position > $1 and position <= $2 and event_type <> 'snapshot.taken'
                  and ($3::text[] is null or event_type = any($3)) and ($4::uuid is null or aggregate_id = any(array(select messaging.entities_of($4))))
                order by position limit $5
            ) as event
        ) as event
        where bytes_before <= $6
        order by position
        "#,
        after,
        window,
        wanted.types.as_deref(),
        wanted.order_id,
        limit,
        MAX_BYTES,
    )
    .fetch_all(pool)
    .await?;
    let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let is_cut = rows.first().is_some_and(|row| row.available >= limit || found < row.available);
    let until = rows.last().filter(|_| is_cut).map_or(window, |last| last.position);
    Ok(Page { events: rows.into_iter().filter_map(shown).collect(), until: until.max(after) })
}

pub(super) async fn before(pool: &PgPool, event_id: Uuid) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        r#"
        select min(position) - 1 as before
        from (select position from messaging.outbox where event_id >= $1 order by event_id limit 1000) as first
        "#,
        event_id,
    )
    .fetch_one(pool)
    .await
}
