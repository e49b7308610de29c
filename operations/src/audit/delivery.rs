//! Rules 3, 8 and 10, and the first half of 4: from the outbox to the inbox.

use contracts::Queue;

use super::Scope;
use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};

pub(super) async fn check(snapshot: &mut Snapshot, scope: &Scope, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Outbox, contradictions(snapshot).await?);
    if scope.broker && !scope.drained {
        let why = "whether all published events have arrived: some may be on their way through RabbitMQ (--drained)";
        findings.left_out(Rule::Effects, why);
    } else {
        findings.add(Rule::Effects, undelivered(snapshot).await?);
    }
    findings.add(Rule::Effects, without_event(snapshot).await?);
    findings.add(Rule::Effects, misdirected(snapshot).await?);
    findings.add(Rule::Statuses, unknown_statuses(snapshot).await?);
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

async fn contradictions(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('the event %s is %s', event_id, concat_ws(' and ',
                      case when published_at is not null then 'published' end,
                      case when parked_at is not null then 'parked' end,
                      case when parked_reason is null then 'without a reason' else 'for ' || parked_reason end))
        from messaging.outbox
        where (published_at is not null and parked_at is not null) or ((parked_at is null) <> (parked_reason is null))
        "#
    )
}

async fn undelivered(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    let (event_types, queues) = routes();
    violations!(
        snapshot,
        r#"
        select format('%s %s was published and is not in the queue %s', event.event_type, event.event_id, route.queue)
        from messaging.outbox as event
        join unnest($1::text[], $2::text[]) as route (event_type, queue) using (event_type)
        left join messaging.inbox as job on (job.queue, job.event_id) = (route.queue, event.event_id)
        where published_at is not null and job.event_id is null
        "#,
        &event_types,
        &queues,
    )
}

/// Only days that are in the outbox count: the inbox keeps a day for longer than the outbox.
async fn without_event(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    let days = snapshot.days.clone();
    violations!(
        snapshot,
        r#"
        select format('the queue %s has %s %s, which is not in the outbox', queue, event_type, event_id)
        from messaging.inbox
        where not exists (select from messaging.outbox where outbox.event_id = inbox.event_id)
          and right(inbox.tableoid::regclass::text, 8) = any($1)
        "#,
        &days,
    )
}

async fn misdirected(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    let (event_types, queues) = routes();
    violations!(
        snapshot,
        r#"
        select format('the queue %s has %s %s, which it does not consume', queue, event_type, event_id)
        from messaging.inbox
        left join unnest($1::text[], $2::text[]) as route (event_type, queue) using (event_type, queue)
        where route.queue is null
        "#,
        &event_types,
        &queues,
    )
}

async fn unknown_statuses(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s in the queue %s is %s', event_id, queue, concat_ws(', ', status,
                      case when leased_until is null then 'without a lease' else 'with a lease' end,
                      case when finished_at is null then 'without an end' else 'with an end' end))
        from messaging.inbox
        where status not in ('ready', 'running', 'done', 'dead', 'in_doubt')
           or (status = 'running') <> (leased_until is not null)
           or (status in ('done', 'dead')) <> (finished_at is not null)
        "#
    )
}

async fn backlog(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s %s is still pending', event_type, event_id)
        from messaging.outbox where published_at is null and parked_at is null
        union all
        select format('%s %s is still %s in the queue %s', event_type, event_id, status, queue)
        from messaging.inbox where status in ('ready', 'in_doubt') or status = 'running'
        "#
    )
}
