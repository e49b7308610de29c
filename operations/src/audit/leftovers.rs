//! Rule 9: what a dead process may leave in the database. The temporary files are checked together with the PDFs.

use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};

pub(super) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> sqlx::Result<()> {
    let may_read = sqlx::query_scalar!(r#"select pg_has_role('pg_read_all_stats', 'usage') as "may!""#)
        .fetch_one(snapshot.connection())
        .await?;
    if may_read {
        findings.add(Rule::Leftovers, idle_transactions(snapshot).await?);
    } else {
        findings.could_not(Rule::Leftovers, "open transactions: the right pg_read_all_stats is missing");
    }
    findings.add(Rule::Leftovers, prepared_transactions(snapshot).await?);
    findings.add(Rule::Leftovers, expired_leases(snapshot).await?);
    Ok(())
}

async fn idle_transactions(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s (pid %s) has a transaction open since %s', application_name, pid, xact_start)
        from pg_stat_activity
        where datname = current_database() and state like 'idle in transaction%'
          and state_change < clock_timestamp() - interval '1 minute'
        "#
    )
}

async fn prepared_transactions(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('the transaction %s was prepared at %s and never ended', gid, prepared)
        from pg_prepared_xacts where database = current_database() and prepared < clock_timestamp() - interval '1 minute'
        "#
    )
}

/// Compared with the time of the snapshot. Within 30 s any living relay or projector takes a shard over, and any worker of the
/// queue a job.
async fn expired_leases(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s %s in the queue %s runs at %s, whose lease ended at %s', event_type, job.event_id, job.queue,
                      coalesce(claim.owner, 'an unknown worker'), coalesce(worker.expires_at::text, 'an unknown time'))
        from messaging.inbox as job
        left join messaging.claims as claim on claim.claim_id = job.claim_id
        left join messaging.workers as worker on worker.queue = job.queue and worker.owner = claim.owner
        left join messaging.outbox as event on event.event_id = job.event_id
        where status = 'running' and coalesce(worker.expires_at, started_at) < now() - interval '30 seconds'
        union all
        select format('the shard %s of the %s still belongs to %s, whose lease ended at %s', shard, consumer, owner, expires_at)
        from messaging.shard_leases as lease join messaging.readers as reader using (consumer)
        where reader.name = owner and expires_at < now() - interval '30 seconds'
          and exists (select from messaging.readers as other where other.consumer = lease.consumer and other.expires_at > now())
        "#
    )
}
