//! Rules 3, 8 and 10, and the first half of 4: from the outbox to the inbox.

use contracts::Queue;

use super::Scope;
use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};

pub(super) async fn check(snapshot: &mut Snapshot, scope: &Scope, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Outbox, contradictions(snapshot).await?);
    findings.add(Rule::Outbox, positions_to_come(snapshot).await?);
    if !scope.broker {
        // Through RabbitMQ a copy may be on its way when its event is skipped.
        findings.add(Rule::Outbox, skipped_and_delivered(snapshot).await?);
    }
    if scope.broker && !scope.drained {
        let why = "whether all published events have arrived: some may be on their way through RabbitMQ (--drained)";
        findings.left_out(Rule::Effects, why);
    } else {
        findings.add(Rule::Effects, undelivered(snapshot).await?);
    }
    findings.add(Rule::Effects, without_event(snapshot).await?);
    findings.add(Rule::Effects, misdirected(snapshot).await?);
    findings.add(Rule::Statuses, unknown_statuses(snapshot).await?);
    findings.add(Rule::Statuses, out_of_turn(snapshot).await?);
    if scope.drained {
        findings.add(Rule::Backlog, backlog(snapshot).await?);
    } else {
        findings.left_out(Rule::Backlog, "the backlog: it is a violation only when it should be empty (--drained)");
    }
    Ok(())
}

/// Event types and queues, as two columns for `unnest`.
fn routes() -> (Vec<String>, Vec<String>) {
    Queue::routes().map(|(event, queue)| (event.to_string(), queue.to_string())).unzip()
}

/// Exceptions that do not fit their events. Those of skipped events outlive the events.
async fn contradictions(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('the exception of the event %s (%s) does not fit any event in the outbox', exception.event_id, status)
        from messaging.outbox_exceptions as exception
        left join messaging.outbox as event on event.event_id = exception.event_id
             and (event.position, event.shard, event.aggregate_id, event.aggregate_version)
                 = (exception.position, exception.shard, exception.aggregate_id, exception.aggregate_version)
        where event.event_id is null
          and (status <> 'SKIPPED'
               or messaging.time_of(exception.event_id)
                  <@ (select range_agg(tstzrange(from_at, until_at)) from messaging.partitions
                      where parent = 'outbox' and not detaching))
        "#
    )
}

/// Positions that the sequence will give out although they are in the log, or behind a mark: a reader would pass new events
/// over. The sequence is read as it is now, so it is never behind the rest of the snapshot by itself.
async fn positions_to_come(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        with drawn as (
            select case when is_called then last_value else 0 end as last from messaging.outbox_position_seq
        )
        select format('%s has passed position %s in the shard %s, and the log will go on from %s', consumer, mark, shard, drawn.last)
        from messaging.last_marks cross join drawn
        where mark > drawn.last
        union all
        select format('the log has position %s, and will go on from %s', max(position), drawn.last)
        from messaging.outbox cross join drawn group by drawn.last having max(position) > drawn.last
        "#
    )
}

/// Skipped events that a queue got after that. It may have had them before: then an operator had replayed them.
async fn skipped_and_delivered(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('the event %s was skipped, and came into the queue %s after that', event_id, queue)
        from messaging.outbox_exceptions as exception join messaging.inbox as job using (event_id)
        where exception.status = 'SKIPPED' and queue <> 'projections'
          and received_at > coalesce((select max(acted_at) from messaging.operator_actions
                                      where action = 'SKIP' and target -> 'event_ids' ? event_id::text), created_at)
        "#
    )
}

/// An event is published when it is neither pending nor an exception.
async fn undelivered(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    let (event_types, queues) = routes();
    violations!(
        snapshot,
        r#"
        select format('%s %s was published and is not in the queue %s', event.event_type, event.event_id, route.queue)
        from messaging.outbox as event
        join unnest($1::text[], $2::text[]) as route (event_type, queue) using (event_type)
        left join messaging.inbox as job on (job.queue, job.event_id) = (route.queue, event.event_id)
        where job.event_id is null
          and not exists (select from messaging.outbox_exceptions as exception where exception.event_id = event.event_id)
          and not exists (select from messaging.pending_events as pending where pending.event_id = event.event_id)
        "#,
        &event_types,
        &queues,
    )
}

/// Only times that are in the outbox count: the inbox keeps a partition for longer than the outbox.
async fn without_event(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('the queue %s has %s, which is not in the outbox', queue, event_id)
        from messaging.inbox
        where not exists (select from messaging.outbox where outbox.event_id = inbox.event_id)
          and messaging.time_of(event_id) <@ (select range_agg(tstzrange(from_at, until_at)) from messaging.partitions
                                              where parent = 'outbox' and not detaching)
        "#
    )
}

/// The projector has rows for events of any type: those that it could not read. An ordered queue has rows for skipped events of
/// any type, as discarded.
async fn misdirected(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    let (event_types, queues) = routes();
    violations!(
        snapshot,
        r#"
        select format('the queue %s has %s %s, which it does not consume', job.queue, event.event_type, event_id)
        from messaging.inbox as job join messaging.outbox as event using (event_id)
        left join unnest($1::text[], $2::text[]) as route (event_type, queue)
             on (route.event_type, route.queue) = (event.event_type, job.queue)
        where route.queue is null and job.queue <> 'projections' and job.status <> 'discarded'
        "#,
        &event_types,
        &queues,
    )
}

/// A job runs under its claim, and a dead one is among the dead letters.
async fn unknown_statuses(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s in the queue %s is %s', job.event_id, job.queue, concat_ws(', ', status,
                      case when status = 'running' then 'without its claim' end,
                      case when finished_at is null then 'without an end' else 'with an end' end,
                      case when letter.event_id is null then 'not among the dead letters' else 'among the dead letters' end))
        from messaging.inbox as job
        left join messaging.dead_letters as letter on (letter.queue, letter.event_id) = (job.queue, job.event_id)
        where status not in ('ready', 'running', 'done', 'dead', 'in_doubt', 'discarded', 'blocked')
           or (status in ('done', 'dead', 'discarded')) <> (finished_at is not null)
           or (status = 'dead') <> (letter.event_id is not null)
           or status = 'running' and not exists (
                  select from messaging.claims
                  where claims.claim_id = job.claim_id and claims.queue = job.queue and job.event_id = any(event_ids))
        union all
        select format('%s in the queue %s is among the dead letters, and no job', event_id, queue)
        from messaging.dead_letters as letter
        where not exists (select from messaging.inbox where (inbox.queue, inbox.event_id) = (letter.queue, letter.event_id))
        "#
    )
}

/// In an ordered queue a job is blocked exactly until its turn, and what has ended is recorded as settled.
async fn out_of_turn(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('version %s of %s is %s in the ordered queue %s, where these versions are settled: %s',
                      aggregate_version, job.aggregate_id, status, job.queue, coalesce(settled, '{}'))
        from messaging.queues
        join messaging.inbox as job on job.queue = name
        left join messaging.ordered_aggregates as aggregate
             on (aggregate.queue, aggregate.aggregate_id) = (job.queue, job.aggregate_id)
        cross join lateral (
            select coalesce(settled @> aggregate_version, false) as is_settled,
                   coalesce(settled @> int4range(1, aggregate_version), aggregate_version = 1) as is_next
        ) as its
        where ordered
          and case when status in ('done', 'discarded') then not is_settled
                   when status = 'blocked' then is_settled or is_next
                   when status = 'ready' then is_settled
                   else is_settled or not is_next end
        "#
    )
}

async fn backlog(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s %s is still pending', event_type, event_id)
        from messaging.pending_events
        union all
        select format('%s %s is still %s', event_type, event_id, lower(status))
        from messaging.outbox_exceptions left join messaging.outbox using (event_id)
        where status in ('WAITING', 'HELD')
        union all
        select format('%s %s is still %s in the queue %s', event_type, event_id, status, queue)
        from messaging.inbox left join messaging.outbox using (event_id)
        where status in ('ready', 'in_doubt', 'running')
           or status = 'blocked' and not exists (
                  select from messaging.dead_letters as letter
                  join messaging.inbox as dead on (dead.queue, dead.event_id) = (letter.queue, letter.event_id)
                  where letter.queue = inbox.queue and dead.aggregate_id = inbox.aggregate_id)
        "#
    )
}
