//! Reading the log as it grows.

use chrono::{DateTime, Utc};
use contracts::Queue;
use serde_json::value::RawValue;
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

use super::place::Place;
use super::progress::LookAt;
use crate::inbox::{Job, Row};

/// How much one statement reads.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub rows: i64,
    /// Of stored payload. The first event is read however large it is.
    pub bytes: i64,
}

/// What a statement saw.
#[derive(Debug)]
pub struct Seen<E = Job> {
    /// All positions, ascending, those of other readers' shards among them.
    pub positions: Vec<i64>,
    /// It stopped at its limit: there may be more.
    pub stopped_at_limit: bool,
    /// The events of the reader's own shards that lie above the marks of their shards, in the order of their positions.
    pub events: Vec<E>,
}

/// Reads what is new: behind the head, and in the gaps below it.
pub async fn follow(
    executor: impl PgExecutor<'_>,
    queue: Queue,
    place: &Place,
    look_at: &LookAt,
    limit: Limit,
) -> sqlx::Result<Seen> {
    let rows = sqlx::query!(
        r#"
        select position as "position!", event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!", occurred_at as "occurred_at!",
               case when mark < position then messaging.payload_of(event_type, added, document, audit) end
                   as payload,
               messaging.headers_of(traceparent, schema_version, audit) as "headers!: Json<Box<RawValue>>", available as "available!"
        from (
            select event.*, mine.mark, count(*) over () as available,
                   coalesce(sum(case when mine.mark < position then stored_bytes end)
                            over (order by position rows between unbounded preceding and 1 preceding), 0) as bytes_before
            from (
                (select position, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, shard, occurred_at,
                        schema_version, traceparent, added, audit, document, stored_bytes
                 from messaging.events where position > $1 order by position limit $2)
                union all
                select late.*
                from unnest($3::bigint[], $4::bigint[]) as gap (first, last)
                cross join lateral (
                    select position, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, shard, occurred_at,
                           schema_version, traceparent, added, audit, document, stored_bytes
                    from messaging.events where position between first and last order by position limit $2
                ) as late
                order by position
                limit $2
            ) as event
            left join unnest($5::smallint[], $6::bigint[]) as mine (shard, mark) using (shard)
        ) as event
        where bytes_before <= $7
        order by position
        "#,
        look_at.after,
        limit.rows,
        &look_at.gap_first,
        &look_at.gap_last,
        &place.leases().shards,
        place.marks(),
        limit.bytes,
    )
    .fetch_all(executor)
    .await?;
    let available = rows.first().map_or(0, |row| row.available);
    let returned = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let positions = rows.iter().map(|row| row.position).collect();
    let events = rows.into_iter().filter_map(|row| {
        let row = Row {
            payload: Some(row.payload?),
            event_id: row.event_id,
            event_type: Some(row.event_type),
            aggregate_type: Some(row.aggregate_type),
            aggregate_id: row.aggregate_id,
            aggregate_version: row.aggregate_version,
            headers: Some(row.headers),
            occurred_at: Some(row.occurred_at),
            received_at: row.occurred_at,
            attempts: 1,
            in_doubt: false,
        };
        Some(row.into_job(queue, Uuid::nil()))
    });
    Ok(Seen { positions, stopped_at_limit: available >= limit.rows || returned < available, events: events.collect() })
}

/// An event without its content.
#[derive(Debug, Clone)]
pub struct Headline {
    pub event_id: Uuid,
    pub event_type: String,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub aggregate_version: i32,
    pub occurred_at: DateTime<Utc>,
}

/// [`follow`] for a reader that needs no content: it reads the outbox alone.
pub async fn follow_headlines(
    executor: impl PgExecutor<'_>,
    place: &Place,
    look_at: &LookAt,
    rows: i64,
) -> sqlx::Result<Seen<Headline>> {
    let read = sqlx::query!(
        r#"
        select position as "position!", event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!", occurred_at as "occurred_at!",
               coalesce(mine.mark < position, false) as "is_new!"
        from (
            (select position, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, shard, occurred_at
             from messaging.outbox where position > $1 order by position limit $2)
            union all
            select late.*
            from unnest($3::bigint[], $4::bigint[]) as gap (first, last)
            cross join lateral (
                select position, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, shard, occurred_at
                from messaging.outbox where position between first and last order by position limit $2
            ) as late
            order by position
            limit $2
        ) as event
        left join unnest($5::smallint[], $6::bigint[]) as mine (shard, mark) using (shard)
        order by position
        "#,
        look_at.after,
        rows,
        &look_at.gap_first,
        &look_at.gap_last,
        &place.leases().shards,
        place.marks(),
    )
    .fetch_all(executor)
    .await?;
    let positions: Vec<i64> = read.iter().map(|row| row.position).collect();
    let stopped_at_limit = i64::try_from(positions.len()).unwrap_or(i64::MAX) >= rows;
    let events = read.into_iter().filter(|row| row.is_new).map(|row| Headline {
        event_id: row.event_id,
        event_type: row.event_type,
        aggregate_type: row.aggregate_type,
        aggregate_id: row.aggregate_id,
        aggregate_version: row.aggregate_version,
        occurred_at: row.occurred_at,
    });
    Ok(Seen { positions, stopped_at_limit, events: events.collect() })
}
