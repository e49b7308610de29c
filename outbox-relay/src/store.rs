//! The SQL of the relay: over the log, its own batches, and the exceptions.

pub(crate) mod look;
pub(crate) mod forward;
pub(crate) mod exceptions;
pub(crate) mod due_from;
pub(crate) mod arrivals;
pub(crate) mod backlog;
pub(crate) mod partitions;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::{Envelope, Headers};
use messaging::leases::Leases;
use messaging::log::Mark;
use serde_json::value::RawValue;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use look::Candidate;

/// Where a relay stands in its leased shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) leases: &'a Leases,
    /// A position for each shard: events up to it are out.
    pub(crate) marks: &'a [i64],
    /// Events above the marks that an earlier relay sent.
    pub(crate) sent: &'a [i64],
    /// None of their exceptions is due earlier.
    pub(crate) due_from: DateTime<Utc>,
}

/// The positions above a mark that are in batches of these shards.
pub(crate) async fn sent_above(pool: &PgPool, leases: &Leases, mark: Mark) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"
        select position as "position!"
        from messaging.relay_batches cross join unnest(positions) as position
        where batch_id >= messaging.lowest_event_id(coalesce($1, to_timestamp(0))) and last_position > $2 and shards && $3
          and position > $2
        "#,
        mark.since,
        mark.position,
        &leases.shards,
    )
    .fetch_all(pool)
    .await
}

/// An event that is about to go to the broker.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) candidate: Candidate,
    /// `Err` says why no message can be made of the event; then it is parked.
    pub(crate) event: Result<Envelope, String>,
}

/// The events of these candidates, in their order. An exception whose partition is being detached stays where it is. A new event
/// cannot be in one; if it were, nothing may pass it, and this is an error.
pub(crate) async fn envelopes(pool: &PgPool, candidates: Vec<Candidate>) -> sqlx::Result<Vec<Pending>> {
    let ids: Vec<Uuid> = candidates.iter().map(|candidate| candidate.event_id).collect();
    let (Some(lowest), Some(highest)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    let rows = sqlx::query!(
        r#"
        select event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!", payload_text as "payload!",
               headers as "headers!: Json<Box<RawValue>>", occurred_at as "occurred_at!"
        from messaging.events where event_id = any($1) and event_id between $2 and $3
        "#,
        &ids,
        lowest,
        highest,
    )
    .fetch_all(pool)
    .await?;
    let mut found: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.event_id, row)).collect();
    let mut pending = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let Some(row) = found.remove(&candidate.event_id) else {
            if candidate.is_new {
                return Err(sqlx::Error::RowNotFound);
            }
            continue;
        };
        let event = decode(&row.headers, row.payload).map(|(headers, payload)| Envelope {
            event_id: candidate.event_id,
            event_type: row.event_type,
            aggregate_type: row.aggregate_type,
            aggregate_id: candidate.aggregate_id,
            aggregate_version: candidate.aggregate_version,
            occurred_at: row.occurred_at,
            headers,
            payload,
        });
        pending.push(Pending { candidate, event });
    }
    Ok(pending)
}

/// Returns an error for the row alone: it must not fail the query that reads a thousand.
fn decode(headers: &RawValue, payload: String) -> Result<(Headers, Box<RawValue>), String> {
    let headers = serde_json::from_str(headers.get()).map_err(|error| format!("headers: {error}"))?;
    let payload = RawValue::from_string(payload).map_err(|error| format!("payload: {error}"))?;
    Ok((headers, payload))
}

/// What came of a batch on the wire.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Confirmed by the broker.
    pub(crate) sent: Vec<Uuid>,
    /// Not sent, because an earlier event of the aggregate did not go out.
    pub(crate) held: Vec<Uuid>,
}

/// Records a batch, if its shards are still leased under the epochs under which it was read. Returns how many of the sent
/// events it recorded.
pub(crate) async fn record(
    pool: &PgPool,
    relay: &str,
    leases: &Leases,
    outcome: &Outcome,
    (sent_at, confirmed_at): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<i64> {
    let all = || outcome.sent.iter().chain(&outcome.held);
    let (Some(lowest), Some(highest)) = (all().min(), all().max()) else { return Ok(0) };
    // The range lets Postgres skip partitions; the lists alone do not.
    sqlx::query_scalar!(
        r#"
        with held as materialized (
            select shard, epoch
            from messaging.shard_leases as lease join unnest($1::smallint[], $2::bigint[]) as mine (shard, epoch) using (shard, epoch)
            where consumer = 'relay' and messaging.timeline() = $3
            order by shard
            for share of lease
        ), sent as materialized (
            select event_id, position from messaging.outbox join held using (shard)
            where event_id = any($4) and event_id between $8 and $9
        ), waiting as (
            insert into messaging.outbox_exceptions (event_id, position, shard, aggregate_id, aggregate_version, status)
            select event_id, position, shard, aggregate_id, aggregate_version, 'HELD'
            from messaging.outbox join held using (shard)
            where event_id = any($5) and event_id between $8 and $9
            on conflict do nothing
        ), resolved as (
            delete from messaging.outbox_exceptions as exception using sent
            where exception.event_id = sent.event_id and status <> 'SKIPPED'
            returning exception.event_id, exception.aggregate_id, exception.shard
        ), awaited as (
            -- The mark of arrivals may have passed it while it was an exception.
            insert into messaging.awaited_arrivals (event_id, shard) select event_id, shard from resolved
            on conflict (event_id) do update set sent_at = excluded.sent_at
        ), next as (
            update messaging.outbox_exceptions as exception set status = 'WAITING', next_attempt_at = clock_timestamp()
            where status = 'HELD' and event_id in (
                select distinct on (aggregate_id) event_id
                from messaging.outbox_exceptions as open
                where aggregate_id in (select aggregate_id from resolved) and status <> 'SKIPPED'
                  and not exists (select from resolved where resolved.event_id = open.event_id)
                order by aggregate_id, aggregate_version)
        ), batch as (
            insert into messaging.relay_batches (batch_id, relay, shards, epochs, positions, last_position, sent_at, confirmed_at)
            select messaging.new_id(), $6, array(select shard from held), array(select epoch from held),
                   array_agg(position order by position), max(position), $7, $10
            from sent having count(*) > 0
        )
        select count(*) as "recorded!" from sent
        "#,
        &leases.shards,
        &leases.epochs,
        leases.timeline,
        &outcome.sent,
        &outcome.held,
        relay,
        sent_at,
        lowest,
        highest,
        confirmed_at,
    )
    .fetch_one(pool)
    .await
}
