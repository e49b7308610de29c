//! The relays, and events that they do not publish.

use sqlx::PgPool;

use super::Finding;

/// Most blocked aggregates that get a finding of their own.
const NAMED: i64 = 10;

pub(super) async fn findings(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let alive = sqlx::query_scalar!(
        r#"select count(*) as "alive!" from messaging.relay_instances where expires_at > clock_timestamp()"#
    )
    .fetch_one(pool)
    .await?;
    let mut findings = Vec::new();
    if alive == 0 {
        let remedy = "start outbox-relay; events wait in the outbox";
        findings.push(Finding::problem("NO_RELAY", "no relay is alive", remedy));
    } else {
        findings.extend(leases(pool).await?);
        findings.extend(listeners(pool, alive).await?);
    }
    findings.extend(overdue(pool).await?);
    findings.extend(blocked(pool).await?);
    Ok(findings)
}

async fn leases(pool: &PgPool) -> sqlx::Result<Option<Finding>> {
    let shards = sqlx::query_scalar!(
        r#"
        select shard from messaging.shard_leases as lease
        where (owner is null or expires_at <= clock_timestamp())
          and exists (select from messaging.outbox
                      where outbox.shard = lease.shard and published_at is null and parked_at is null)
        order by shard
        "#
    )
    .fetch_all(pool)
    .await?;
    let names: Vec<_> = shards.iter().map(ToString::to_string).collect();
    Ok((!shards.is_empty()).then(|| {
        let cause = format!("no relay has leased the shards {}, and events wait there", names.join(", "));
        let remedy = "a living relay leases them within 10 s; otherwise its log has \"could not renew leases\"";
        Finding::problem("LEASE_EXPIRED", cause, remedy)
    }))
}

/// Each relay listens on a connection of its own. Without that connection it polls, and is up to a second late.
async fn listeners(pool: &PgPool, alive: i64) -> sqlx::Result<Option<Finding>> {
    let seen = sqlx::query!(
        r#"
        select pg_has_role('pg_read_all_stats', 'usage') as "may_read!",
               (select count(*) from pg_stat_activity where datname = current_database() and query = $1) as "listening!"
        "#,
        format!("LISTEN \"{}\"", messaging::outbox::CHANNEL),
    )
    .fetch_one(pool)
    .await?;
    if !seen.may_read {
        let remedy = "grant pg_read_all_stats to articurated_operator";
        return Ok(Some(Finding::warning(
            "SESSIONS_UNSEEN",
            "other sessions cannot be seen: listeners and open transactions",
            remedy,
        )));
    }
    Ok((seen.listening < alive).then(|| {
        let cause = format!("of {alive} living relays {} listen for new events; the others only poll", seen.listening);
        Finding::problem("LISTENER_DEAD", cause, "a relay reconnects within seconds; if it does not, restart it")
    }))
}

async fn overdue(pool: &PgPool) -> sqlx::Result<Option<Finding>> {
    let waiting = sqlx::query!(
        r#"
        select count(*) as "events!", extract(epoch from clock_timestamp() - min(occurred_at))::bigint as seconds
        from messaging.due_events
        where occurred_at < clock_timestamp() - interval '30 seconds'
        "#,
    )
    .fetch_one(pool)
    .await?;
    Ok((waiting.events > 0).then(|| {
        let seconds = waiting.seconds.unwrap_or_default();
        let cause = format!("events that wait for a relay: {}, the oldest for {seconds} s", waiting.events);
        Finding::problem(
            "OUTBOX_OVERDUE",
            cause,
            "see the other findings; if there are none, the relay is working off a backlog: ops status",
        )
    }))
}

async fn blocked(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"
        with line as (
            select *, count(*) over (partition by aggregate_id) - 1 as behind,
                   row_number() over (partition by aggregate_id order by aggregate_version) as place
            from (select event_id, event_type, aggregate_type, aggregate_id, aggregate_version, parked_at, parked_reason, last_error
                  from messaging.outbox
                  where published_at is null and (parked_at is null or attempts > 0)
                    and parked_reason is distinct from 'SKIPPED') as unpublished
        )
        select event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!", aggregate_id as "aggregate_id!",
               parked_reason as "parked_reason!", last_error, behind as "behind!", count(*) over () as "total!"
        from line where place = 1 and parked_at is not null
        order by behind desc, event_id
        limit $1
        "#,
        NAMED,
    )
    .fetch_all(pool)
    .await?;
    let more = rows.first().map_or(0, |row| row.total) - i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let mut findings: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let cause = format!(
                "the {} {} is blocked by {} {}, which is parked: {} ({}); events waiting: {}",
                row.aggregate_type,
                row.aggregate_id,
                row.event_type,
                row.event_id,
                row.parked_reason,
                row.last_error.unwrap_or_default(),
                row.behind,
            );
            let remedy =
                format!("once the reason is gone: ops replay --id {0}; or give up on it: ops skip {0}", row.event_id);
            Finding::problem("AGGREGATE_BLOCKED", cause, remedy)
        })
        .collect();
    if more > 0 {
        let cause = format!("more blocked orders, returns, documents or refunds: {more}");
        findings.push(Finding::problem("AGGREGATE_BLOCKED", cause, "list them: ops stuck"));
    }
    Ok(findings)
}
