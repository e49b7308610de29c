//! What a relay may send next.

use std::time::Duration;

use messaging::log::LookAt;
use messaging::unknown;
use sqlx::{Error, PgPool};
use uuid::Uuid;

use super::Standing;
use super::exceptions::Failed;
use crate::row::retry_delay;

/// Most bytes of stored payload in one batch, so that a batch fits into the memory of a small container. The first event of
/// a batch may be larger.
const MAX_BATCH_BYTES: i64 = 8 * 1024 * 1024;

/// What is recorded about an event of a type that this release does not know.
pub(crate) fn unknown_type(event_type: &str) -> String {
    unknown::reason(&format!("events of the type {event_type}"), "the relays, then replay")
}

/// An event that may go out.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) event_id: Uuid,
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_version: i32,
    /// Attempts that failed.
    pub(crate) attempts: i32,
    /// It is no exception.
    pub(crate) is_new: bool,
    /// Since it became an exception.
    pub(crate) waited: Duration,
    /// An earlier event of its aggregate must go out first.
    pub(crate) is_blocked: bool,
}

impl Candidate {
    /// The database refused it.
    pub(crate) fn failed(&self, error: &Error, max_attempts: i32) -> Failed {
        let attempts = self.attempts + 1;
        Failed {
            event_id: self.event_id,
            error: error.to_string(),
            parked: (attempts >= max_attempts).then_some("ATTEMPTS_SPENT"),
            delay: retry_delay(attempts),
            is_attempt: true,
        }
    }

    /// This release does not know its type, and therefore not where it goes.
    pub(crate) fn unknown_type(&self, event_type: &str) -> Failed {
        Failed {
            event_id: self.event_id,
            error: unknown_type(event_type),
            parked: (self.waited >= unknown::WITHIN).then_some("UNROUTABLE"),
            delay: unknown::wait(self.waited),
            is_attempt: false,
        }
    }
}

/// What a statement saw.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// All positions, ascending, those of other relays' shards among them.
    pub(crate) positions: Vec<i64>,
    pub(crate) stopped_at_limit: bool,
    /// In the order in which they go out.
    pub(crate) candidates: Vec<Candidate>,
}

struct Row {
    position: i64,
    is_seen: bool,
    event_id: Option<Uuid>,
    aggregate_id: Uuid,
    aggregate_version: i32,
    attempts: i32,
    waited: f64,
    is_blocked: bool,
    available: i64,
}

/// Looks for events that may go out: new ones behind the head and in the gaps, and exceptions whose time has come.
pub(crate) async fn look(pool: &PgPool, standing: Standing<'_>, look_at: &LookAt, limit: i64) -> sqlx::Result<Look> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        with seen as materialized (
            select event.*, mark,
                   coalesce(sum(case when mark < position then bytes end)
                            over (order by position rows between unbounded preceding and 1 preceding), 0) as bytes_before,
                   count(*) over () as available
            from (
                (select position, event_id, aggregate_id, aggregate_version, shard, stored_bytes as bytes
                 from messaging.events where position > $1 order by position limit $2)
                union all
                select late.*
                from unnest($3::bigint[], $4::bigint[]) as gap (first, last)
                cross join lateral (
                    select position, event_id, aggregate_id, aggregate_version, shard, stored_bytes
                    from messaging.events where position between first and last order by position limit $2
                ) as late
                order by position
                limit $2
            ) as event
            left join unnest($5::smallint[], $6::bigint[]) as mine (shard, mark) using (shard)
        ), due as materialized (
            select event_id, position, aggregate_id, aggregate_version, attempts,
                   extract(epoch from clock_timestamp() - created_at)::float8 as waited
            from messaging.outbox_exceptions as exception
            where shard = any($5) and status = 'WAITING'
              and next_attempt_at >= $9 and next_attempt_at <= (select clock_timestamp())
              and not exists (
                  select from messaging.outbox_exceptions as earlier
                  where earlier.aggregate_id = exception.aggregate_id and earlier.status <> 'SKIPPED'
                    and earlier.aggregate_version < exception.aggregate_version)
            order by next_attempt_at
            limit $2
        )
        select position as "position!", true as "is_seen!", aggregate_id as "aggregate_id!", aggregate_version as "aggregate_version!",
               case when mark < position and position <> all($7::bigint[]) and not exists (
                        select from messaging.outbox_exceptions as known where known.event_id = seen.event_id)
                    then event_id end as event_id,
               0 as "attempts!", 0::float8 as "waited!",
               exists (select from messaging.outbox_exceptions as open
                       where open.aggregate_id = seen.aggregate_id and open.status <> 'SKIPPED'
                         and not exists (select from due where due.event_id = open.event_id)) as "is_blocked!",
               available as "available!"
        from seen where bytes_before <= $8
        union all
        select position, false, aggregate_id, aggregate_version, event_id, attempts, waited, false, 0 from due
        order by 1
        "#,
        look_at.after,
        limit,
        &look_at.gap_first,
        &look_at.gap_last,
        &standing.leases.shards,
        standing.marks,
        standing.sent,
        MAX_BATCH_BYTES,
        standing.due_from,
    )
    .fetch_all(pool)
    .await?;
    let positions: Vec<_> = rows.iter().filter(|row| row.is_seen).map(|row| row.position).collect();
    let available = rows.iter().find(|row| row.is_seen).map_or(0, |row| row.available);
    let stopped_at_limit = available >= limit || i64::try_from(positions.len()).is_ok_and(|seen| seen < available);
    let candidates = rows.into_iter().filter_map(|row| {
        Some(Candidate {
            event_id: row.event_id?,
            aggregate_id: row.aggregate_id,
            aggregate_version: row.aggregate_version,
            attempts: row.attempts,
            is_new: row.is_seen,
            waited: Duration::try_from_secs_f64(row.waited).unwrap_or_default(),
            is_blocked: row.is_blocked,
        })
    });
    Ok(Look { positions, stopped_at_limit, candidates: candidates.collect() })
}
