//! The relays, and events that they do not publish.

use sqlx::PgPool;

use super::Finding;

/// Most blocked aggregates that get a finding of their own.
const NAMED: i64 = 10;

/// Events that are counted, at most.
const COUNTED: i64 = 10_000;
/// Open exceptions of one shard at which its relay stops; the relay has the same number.
const MOST_EXCEPTIONS: i64 = 10_000;

pub(super) async fn findings(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let alive = sqlx::query_scalar!(
        r#"
        select count(*) as "alive!" from messaging.readers where consumer = 'relay' and expires_at > clock_timestamp()
        "#
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
    findings.extend(full(pool).await?);
    findings.extend(unknown(pool).await?);
    findings.extend(blocked(pool).await?);
    Ok(findings)
}

async fn unknown(pool: &PgPool) -> sqlx::Result<Option<Finding>> {
    let waiting = sqlx::query!(
        r#"
        select count(*) as "events!", min(last_error) as reason
        from (select last_error from messaging.outbox_exceptions
              where status = 'WAITING' and last_error like $1 limit $2) as unknown
        "#,
        messaging::unknown::reason("%", "%"),
        COUNTED,
    )
    .fetch_one(pool)
    .await?;
    Ok((waiting.events > 0).then(|| {
        let cause =
            format!("events that wait in the outbox: {}: {}", waiting.events, waiting.reason.unwrap_or_default());
        let remedy = "upgrade the relays that still run the old release; the events are parked after an hour";
        Finding::problem("EVENTS_UNKNOWN", cause, remedy)
    }))
}

async fn leases(pool: &PgPool) -> sqlx::Result<Option<Finding>> {
    let shards = sqlx::query_scalar!(
        r#"
        with waiting as (
            select shard from (select shard from messaging.pending_events limit $1) as pending
            union
            select shard from messaging.outbox_exceptions where status = 'WAITING' and next_attempt_at <= clock_timestamp()
        )
        select shard as "shard!" from waiting
        where shard not in (select shard from messaging.held_shards where consumer = 'relay')
        order by shard
        "#,
        COUNTED,
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

/// Each relay listens on a connection of its own. Without that connection it polls, and is up to a second late. Projectors listen
/// to the same channel, and do not count.
async fn listeners(pool: &PgPool, alive: i64) -> sqlx::Result<Option<Finding>> {
    let seen = sqlx::query!(
        r#"
        select pg_has_role('pg_read_all_stats', 'usage') as "may_read!",
               (select count(*) from pg_stat_activity
                where datname = current_database() and application_name = 'outbox-relay' and query = $1) as "listening!"
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

/// An event that failed waits from the time at which it is due, and one behind an earlier event does not wait for the relay.
async fn overdue(pool: &PgPool) -> sqlx::Result<Option<Finding>> {
    let waiting = sqlx::query!(
        r#"
        with waiting as (
            select occurred_at as since
            from (select occurred_at from messaging.pending_events order by position limit $1) as pending
            union all
            (select next_attempt_at
             from messaging.outbox_exceptions as exception
             where status = 'WAITING' and next_attempt_at <= clock_timestamp() and not exists (
                 select from messaging.outbox_exceptions as earlier
                 where earlier.aggregate_id = exception.aggregate_id and earlier.status <> 'SKIPPED'
                   and earlier.aggregate_version < exception.aggregate_version)
             limit $1)
        )
        select count(*) as "events!", extract(epoch from clock_timestamp() - min(since))::bigint as seconds
        from waiting where since < clock_timestamp() - interval '30 seconds'
        "#,
        COUNTED,
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

async fn full(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"
        select shard, count(*) as "events!"
        from messaging.outbox_exceptions where status <> 'SKIPPED'
        group by shard having count(*) >= $1
        order by shard
        "#,
        MOST_EXCEPTIONS,
    )
    .fetch_all(pool)
    .await?;
    let findings = rows.into_iter().map(|row| {
        let (shard, events) = (row.shard, row.events);
        let cause = format!("{events} events of the shard {shard} cannot go out; its relay has stopped there");
        let remedy = "find out why: ops stuck; then replay or skip them until there are fewer";
        Finding::problem("EXCEPTIONS_FULL", cause, remedy)
    });
    Ok(findings.collect())
}

async fn blocked(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let rows = sqlx::query!(
        r#"
        with held as (
            select aggregate_id, count(*) as events from messaging.outbox_exceptions where status = 'HELD' group by aggregate_id
        ), blocking as (
            select exception.*, coalesce(events, 0) as behind, count(*) over () as total
            from messaging.outbox_exceptions as exception left join held using (aggregate_id)
            where status = 'PARKED' and not exists (
                select from messaging.outbox_exceptions as earlier
                where earlier.aggregate_id = exception.aggregate_id and earlier.status <> 'SKIPPED'
                  and earlier.aggregate_version < exception.aggregate_version)
            order by behind desc, event_id
            limit $1
        )
        select event_id as "event_id!", event_type as "event_type!", aggregate_type as "aggregate_type!",
               event.aggregate_id as "aggregate_id!", parked_reason as "parked_reason!", last_error, behind as "behind!",
               total as "total!"
        from blocking join messaging.outbox as event using (event_id)
        order by behind desc, event_id
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
