//! Rule 4, second half: the effects of the workers. A job is marked done in the transaction of its effect, so neither
//! exists without the other. A job that an operator discarded may have had its effect or not.

use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};

pub(super) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Effects, invoices(snapshot).await?);
    findings.add(Rule::Effects, credit_notes(snapshot).await?);
    findings.add(Rule::Effects, refunds(snapshot).await?);
    findings.add(Rule::Effects, emails(snapshot).await?);
    findings.add(Rule::Effects, groundless_emails(snapshot).await?);
    Ok(())
}

async fn invoices(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('order %s: its invoice is %s, its job %s', coalesce(aggregate_id, order_id),
                      case when stored_at is null then 'not stored' else 'stored' end, status)
        from (select * from messaging.inbox where queue = 'invoices' and status <> 'discarded') as job
        left join work.invoices on order_id = aggregate_id
        where aggregate_version = coalesce((order_document ->> 'version')::int, aggregate_version)
          and (status = 'done') <> (stored_at is not null)
        union all
        select format('order %s: the registration of version %s is printed, and its invoice shows that of %s',
                      order_id, max(aggregate_version), coalesce(registered_version::text, 'none'))
        from messaging.inbox join work.invoices on order_id = aggregate_id
        where queue = 'invoices' and status = 'done' and aggregate_version > (order_document ->> 'version')::int
        group by order_id, registered_version, registrations
        having max(aggregate_version) > coalesce(registered_version, 0) and max(aggregate_version) >= all (registrations)
        union all
        select format('order %s is %s and has an invoice', orders.id, state)
        from work.invoices join command.orders on orders.id = order_id
        where state not in ('SHIPPED', 'DELIVERED')
        "#
    )
}

async fn credit_notes(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s: its credit note is %s, its job %s', coalesce(aggregate_id, source_id),
                      case when stored_at is null then 'not stored' else 'stored' end, status)
        from (select * from messaging.inbox where queue = 'credit_notes' and status <> 'discarded') as job
        left join work.credit_notes on source_id = aggregate_id
        where (status = 'done' and not coalesce(result ? 'skipped', false)) <> (stored_at is not null)
        union all
        select format('return %s is %s and has a credit note', returns.id, state)
        from work.credit_notes join command.returns on returns.id = source_id
        where state <> 'COMPLETED'
        "#
    )
}

async fn refunds(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('refund %s is %s, its jobs %s', aggregate_id, coalesce(refunds.status, 'missing'),
                      string_agg(job.status, ', ' order by event_id))
        from messaging.inbox as job left join command.refunds on refunds.id = aggregate_id
        where queue = 'refunds'
        group by aggregate_id, refunds.status
        having bool_or(job.status = 'discarded') is false
           and bool_and(job.status = 'done') <> coalesce(refunds.status in ('PROCESSED', 'FAILED'), false)
        "#
    )
}

async fn emails(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s %s: %s e-mails, its job %s%s', event_type, job.event_id, count(sent_at), job.status,
                      case when result ? 'skipped' then ' (skipped)' end)
        from messaging.inbox as job
        left join messaging.outbox as event on event.event_id = job.event_id
        left join work.emails on emails.event_id = job.event_id
        where queue = 'notifications' and job.status <> 'discarded'
        group by job.queue, job.event_id, event.event_id
        having count(sent_at) <> case when job.status = 'done' and not coalesce(result ? 'skipped', false) then 1 else 0 end
        union all
        select format('%s %s: its e-mail is %s, its job %s', event_type, job.event_id, emails.status, job.status)
        from messaging.inbox as job
        left join messaging.outbox as event on event.event_id = job.event_id
        join work.emails on emails.event_id = job.event_id
        where queue = 'notifications' and job.status <> 'discarded'
          and (emails.status = 'SENDING' and job.status not in ('running', 'in_doubt', 'ready')
               or emails.status = 'IN_DOUBT' and job.status = 'done')
        "#
    )
}

/// E-mails about events that the queue never had. The event's id carries its time.
async fn groundless_emails(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('the e-mail %s (%s) belongs to no job: %s', message_id, kind, event_id)
        from work.emails
        where not exists (select from messaging.inbox where queue = 'notifications' and inbox.event_id = emails.event_id)
          and messaging.time_of(event_id) <@ (select range_agg(tstzrange(from_at, until_at)) from messaging.partitions
                                              where parent = 'outbox' and not detaching)
        "#
    )
}
