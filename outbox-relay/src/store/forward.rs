//! The statement of the Postgres queue.

use chrono::{DateTime, Utc};
use contracts::{EventType, Queue};
use messaging::log::LookAt;
use messaging::unknown;
use runtime::database::interval;
use sqlx::PgPool;
use uuid::Uuid;

use super::Standing;
use super::look::{Candidate, Look, unknown_type};

/// The routing table as two columns for `unnest`, and all event types that this release knows.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(super) event_types: Vec<String>,
    pub(super) queues: Vec<String>,
    known: Vec<String>,
    /// What is recorded about an event of an unknown type: `{}` stands for the type.
    unknown: String,
}

impl Routes {
    pub(crate) fn new() -> Self {
        let (event_types, queues) =
            Queue::routes().map(|(event, queue)| (event.to_string(), queue.to_string())).unzip();
        let known = EventType::ALL.iter().map(ToString::to_string).collect();
        Self { event_types, queues, known, unknown: unknown_type("{}") }
    }

    /// Only the routes to these queues.
    pub(crate) fn to(&self, only: &[Queue]) -> Self {
        let leads_there = |queue: &str| only.iter().any(|only| only.as_str() == queue);
        let routes = self.event_types.iter().zip(&self.queues).filter(|(_, queue)| leads_there(queue));
        let (event_types, queues) = routes.map(|(event_type, queue)| (event_type.clone(), queue.clone())).unzip();
        Self { event_types, queues, ..self.clone() }
    }
}

/// Which events a relay may move.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) relay: &'a str,
    /// Where the relay believes to stand. The statement takes only shards that it still holds.
    pub(crate) standing: Standing<'a>,
    pub(crate) look_at: &'a LookAt,
    /// Only this event, wherever it is: what has come before it since it was seen must not push it out of the window, because the
    /// caller takes it for handled.
    pub(crate) only: Option<Uuid>,
}

/// What one statement moved.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// All positions seen, ascending, those of other relays' shards among them.
    pub(crate) positions: Vec<i64>,
    pub(crate) stopped_at_limit: bool,
    /// Events that went out.
    pub(crate) sent: i64,
    /// Events that became exceptions.
    pub(crate) failed: i64,
    /// When their batch was recorded.
    pub(crate) confirmed_at: Option<DateTime<Utc>>,
    /// Those of them whose trace is recorded.
    pub(crate) traced: Vec<Traced>,
}

/// An event that went out, for its trace.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    pub(crate) traceparent: String,
    /// It is no exception.
    pub(crate) is_new: bool,
}

impl Forwarded {
    /// The frame of a batch that goes out one by one.
    pub(crate) fn of(look: Look) -> (Self, Vec<Candidate>) {
        let Look { positions, stopped_at_limit, candidates } = look;
        (Self { positions, stopped_at_limit, ..Self::default() }, candidates)
    }

    pub(crate) fn add(&mut self, one: Self) {
        self.sent += one.sent;
        self.failed += one.failed;
        self.confirmed_at = self.confirmed_at.max(one.confirmed_at);
        self.traced.extend(one.traced);
    }
}

/// Moves up to `limit` events to the inboxes of their queues.
///
/// The statement share-locks the lease rows, so that a take-over waits for it: the fence. It locks them in the order in
/// which renewals lock them; in any other order the two could deadlock. The statement is bounded, so the lock is short.
///
/// An event whose type this release does not know waits for a relay that knows it, and is parked after a while. An event behind
/// an exception of its aggregate is held. The notifications go out with the commit. They may be inside the transaction because
/// relays do not contend for the lock of NOTIFY as commands do.
#[expect(clippy::too_many_lines, reason = "it is one statement")]
pub(crate) async fn forward(pool: &PgPool, source: Source<'_>, routes: &Routes, limit: i64) -> sqlx::Result<Forwarded> {
    let Source { relay, standing, look_at, only } = source;
    let row = sqlx::query!(
        r#"
        with held as materialized (
            select shard, mine.epoch, mark
            from messaging.shard_leases as lease
            join unnest($1::smallint[], $2::bigint[], $3::bigint[]) as mine (shard, epoch, mark) using (shard, epoch)
            where consumer = 'relay' and owner = $4 and messaging.timeline() = $5
            order by shard
            for share of lease
        ), place as materialized (
            select array_agg(shard) as shards, array_agg(mark) as marks from held
        ), seen as materialized (
            (select position, event_id, event_type, aggregate_id, aggregate_version, shard, traceparent
             from messaging.outbox where $12::uuid is null and position > $8 order by position limit $9)
            union all
            select late.*
            from unnest($10::bigint[], $11::bigint[]) as gap (first, last)
            cross join lateral (
                select position, event_id, event_type, aggregate_id, aggregate_version, shard, traceparent
                from messaging.outbox where $12 is null and position between first and last order by position limit $9
            ) as late
            union all
            select position, event_id, event_type, aggregate_id, aggregate_version, shard, traceparent
            from messaging.outbox where event_id = $12
            order by position
            limit $9
        ), due as materialized (
            select exception.*
            from messaging.outbox_exceptions as exception join held using (shard)
            where status = 'WAITING' and next_attempt_at >= $19 and next_attempt_at <= (select clock_timestamp())
              and ($12::uuid is null or event_id = $12)
              and not exists (
                  select from messaging.outbox_exceptions as earlier
                  where earlier.aggregate_id = exception.aggregate_id and earlier.status <> 'SKIPPED'
                    and earlier.aggregate_version < exception.aggregate_version)
            order by next_attempt_at
            limit $9
            for update of exception skip locked
        ), candidate as materialized (
            select position, event_id, event_type, aggregate_id, aggregate_version, shard, traceparent, false as is_due,
                   interval '0' as waited,
                   exists (select from messaging.outbox_exceptions as open
                           where open.aggregate_id = seen.aggregate_id and open.status <> 'SKIPPED'
                             and not exists (select from due where due.event_id = open.event_id)) as is_blocked
            from seen
            -- Not a join: Postgres expects one leased shard, and would go over all the rows once for each.
            where position > (select marks from place)[array_position((select shards from place), shard)]
              and position <> all($13::bigint[])
              and not exists (select from messaging.outbox_exceptions as known where known.event_id = seen.event_id)
            union all
            select due.position, event_id, event_type, due.aggregate_id, due.aggregate_version, due.shard,
                   traceparent, true, clock_timestamp() - created_at, false
            from due join messaging.outbox using (event_id)
        ), unknown as materialized (
            select aggregate_id, min(aggregate_version) as version
            from candidate where not event_type = any($14::text[])
            group by aggregate_id
        ), judged as materialized (
            select candidate.*, event_type = any($14) as is_known,
                   is_blocked or coalesce(aggregate_version > unknown.version, false) as waits
            from candidate left join unknown using (aggregate_id)
        ), sent as materialized (
            select * from judged where is_known and not waits
        ), job as materialized (
            select queue, event_id, aggregate_id, aggregate_version, position
            from sent join unnest($6::text[], $7::text[]) as route (event_type, queue) using (event_type)
        ), reached as materialized (
            select queue, messaging.due_now(queue) as run_at from (select distinct queue from job) as queue
        ), delivered as (
            insert into messaging.inbox (queue, event_id, aggregate_id, aggregate_version, run_at)
            select queue, event_id, aggregate_id, aggregate_version, run_at
            from job join reached using (queue)
            order by position
            on conflict do nothing
            returning queue
        ), excepted as (
            insert into messaging.outbox_exceptions as exception
                (event_id, position, shard, aggregate_id, aggregate_version, status, last_error, next_attempt_at, parked_at,
                 parked_reason)
            select event_id, position, shard, aggregate_id, aggregate_version, fate,
                   case when fate <> 'HELD' then replace($15, '{}', event_type) end,
                   case when fate = 'WAITING' then clock_timestamp() + least(greatest(waited, $17), $18) end,
                   case when fate = 'PARKED' then clock_timestamp() end, case when fate = 'PARKED' then 'UNROUTABLE' end
            from judged
            cross join lateral (
                select case when waits then 'HELD' when waited < $16 then 'WAITING' else 'PARKED' end as fate
            ) as decided
            where waits or not is_known
            on conflict (event_id) do update
            set status = excluded.status, last_error = excluded.last_error, next_attempt_at = excluded.next_attempt_at,
                parked_at = excluded.parked_at, parked_reason = excluded.parked_reason
            returning 1
        ), resolved as (
            delete from messaging.outbox_exceptions as exception using sent
            where is_due and exception.event_id = sent.event_id
            returning exception.aggregate_id
        ), next as (
            update messaging.outbox_exceptions as exception set status = 'WAITING', next_attempt_at = clock_timestamp()
            where status = 'HELD' and event_id in (
                select distinct on (aggregate_id) event_id
                from messaging.outbox_exceptions as open
                where aggregate_id in (select aggregate_id from resolved) and status <> 'SKIPPED'
                  and not exists (select from due where due.event_id = open.event_id)
                order by aggregate_id, aggregate_version)
        ), recorded as (
            insert into messaging.relay_batches (batch_id, relay, shards, epochs, positions, last_position, sent_at)
            select messaging.new_id(), $4, array(select shard from held), array(select epoch from held),
                   array_agg(position order by position), max(position), clock_timestamp()
            from sent having count(*) > 0
            returning confirmed_at
        ), traced as materialized (
            select event_id, event_type, traceparent, not is_due as is_new from sent where traceparent like '%-01'
        )
        select array(select position from seen order by position) as "positions!",
               (select count(*) from sent) as "sent!", (select count(*) from excepted) as "failed!",
               (select confirmed_at from recorded) as confirmed_at,
               array(select event_id from traced order by event_id) as "traced_ids!",
               array(select event_type from traced order by event_id) as "traced_types!",
               array(select traceparent from traced order by event_id) as "traceparents!",
               array(select is_new from traced order by event_id) as "traced_new!",
               (select count(pg_notify('inbox_' || queue, '')) from (select distinct queue from delivered) as woken) as "woken!"
        "#,
        &standing.leases.shards,
        &standing.leases.epochs,
        standing.marks,
        relay,
        standing.leases.timeline,
        &routes.event_types,
        &routes.queues,
        look_at.after,
        limit,
        &look_at.gap_first,
        &look_at.gap_last,
        only,
        standing.sent,
        &routes.known,
        routes.unknown,
        interval(unknown::WITHIN),
        interval(unknown::WAITS.0),
        interval(unknown::WAITS.1),
        standing.due_from,
    )
    .fetch_one(pool)
    .await?;
    let traced = row.traced_ids.into_iter().zip(row.traced_types).zip(row.traceparents).zip(row.traced_new);
    let traced = traced.map(|(((event_id, event_type), traceparent), is_new)| Traced {
        event_id,
        event_type,
        traceparent,
        is_new,
    });
    Ok(Forwarded {
        stopped_at_limit: i64::try_from(row.positions.len()).is_ok_and(|seen| seen >= limit),
        positions: row.positions,
        sent: row.sent,
        failed: row.failed,
        confirmed_at: row.confirmed_at,
        traced: traced.collect(),
    })
}
