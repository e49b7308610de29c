//! Rules 1 and 2: the audit, its events, and the states that follow from them.

use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};

pub(super) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Transitions, unmatched(snapshot).await?);
    findings.add(Rule::Transitions, with_several_events(snapshot).await?);
    findings.add(Rule::Versions, broken_chains(snapshot).await?);
    findings.add(Rule::Versions, unfounded_states(snapshot).await?);
    Ok(())
}

/// Only that each transition starts where the one before ended.
pub(super) async fn check_chain(snapshot: &mut Snapshot, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Versions, broken_chains(snapshot).await?);
    Ok(())
}

/// A transition needs its event when that time is in the outbox. Near the end of a partition both may belong to different ones,
/// because they read two clocks.
async fn unmatched(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select case when event_id is null
                    then format('%s %s@%s has no event', entity_type, entity_id, version)
                    else format('the event %s is about %s %s@%s, which is not in the audit',
                                event_id, aggregate_type, aggregate_id, aggregate_version) end
        from command.state_transitions full join messaging.outbox
            on (entity_type, entity_id, version) = (aggregate_type, aggregate_id, aggregate_version)
        where entity_id is null
           or event_id is null
              and tstzrange(created_at - interval '5 minutes', created_at + interval '5 minutes')
                  <@ (select range_agg(tstzrange(from_at, until_at)) from messaging.partitions
                      where parent = 'outbox' and not detaching)
        "#
    )
}

async fn with_several_events(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s %s@%s has %s events', aggregate_type, aggregate_id, aggregate_version, count(*))
        from messaging.outbox where event_type <> 'snapshot.taken'
        group by aggregate_type, aggregate_id, aggregate_version having count(*) > 1
        "#
    )
}

async fn broken_chains(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s %s@%s: from %s to %s, is number %s and follows %s',
                      entity_type, entity_id, version, coalesce(from_state, '-'), to_state, place, coalesce(before, '-'))
        from (select *, row_number() over steps as place, lag(to_state) over steps as before
              from command.state_transitions window steps as (partition by entity_type, entity_id order by version)) as chain
        where version <> place or from_state is distinct from before
        "#
    )
}

/// An invoice or a credit note gets its number before it is stored, and its state when it is stored.
async fn unfounded_states(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        with last as (
            select distinct on (entity_type, entity_id) entity_type as kind, entity_id as id, version, to_state as state
            from command.state_transitions order by entity_type, entity_id, version desc
        ), present as (
            select 'order' as kind, id, version, state from command.orders
            union all select 'return', id, version, state from command.returns
            union all select 'refund', id, version, status from command.refunds
            union all select 'invoice', id, edition + erasures, case edition when 1 then 'GENERATED' else 'REGISTERED' end from work.invoices where stored_at is not null
            union all select 'credit_note', id, 1 + erasures, 'GENERATED' from work.credit_notes where stored_at is not null
        )
        select format('%s %s is %s@%s, its audit says %s@%s', kind, id,
                      coalesce(present.state, 'missing'), present.version, coalesce(last.state, 'nothing'), last.version)
        from present full join last using (kind, id)
        where (present.state, present.version) is distinct from (last.state, last.version)
        "#
    )
}
