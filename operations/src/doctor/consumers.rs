//! The consumers: paused queues, dead jobs and what waits behind them, jobs in doubt, jobs that no worker takes, and a
//! projector that is behind.

use sqlx::PgPool;

use super::Finding;

/// Jobs of a queue that wait, that run, and that are dead, are counted up to this many each.
const COUNTED: i64 = 10_000;

pub(super) async fn findings(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let mut findings = queues(pool).await?;
    findings.extend(blocked(pool).await?);
    findings.extend(projections(pool).await?);
    Ok(findings)
}

async fn queues(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let queues = sqlx::query!(
        r#"
        select name as "name!", (select count(*) from (select from messaging.dead_letters where queue = name limit $1) as letter) as "dead!",
               in_doubt as "in_doubt!", silent as "silent!", overdue as "overdue!",
               unknown as "unknown!", unknown_reason, paused_at, paused_by, paused_reason, since as "since?", outages.reason as "reason?"
        from messaging.queues
        left join messaging.outages on outages.queue = name
        cross join lateral (
            select count(*) filter (where status = 'in_doubt') as in_doubt,
                   count(*) filter (where status = 'running' and leased_until < clock_timestamp() - interval '30 seconds') as silent,
                   count(*) filter (where status in ('ready', 'in_doubt') and run_at < clock_timestamp() - interval '30 seconds') as overdue,
                   count(*) filter (where status in ('ready', 'in_doubt') and last_error like $2) as unknown,
                   min(last_error) filter (where status in ('ready', 'in_doubt') and last_error like $2) as unknown_reason
            from (
                (select status, run_at, leased_until, last_error from messaging.waiting_jobs as job where job.queue = name limit $1)
                union all
                (select status, run_at, leased_until, last_error from messaging.running_jobs as job where job.queue = name limit $1)
            ) as open
        ) as counted
        order by name
        "#,
        COUNTED,
        messaging::unknown::reason("%", "%"),
    )
    .fetch_all(pool)
    .await?;
    let mut findings = Vec::new();
    for queue in queues {
        let name = queue.name;
        if let Some(at) = queue.paused_at {
            let (by, why) = (queue.paused_by.unwrap_or_default(), queue.paused_reason.unwrap_or_default());
            let cause = format!("{by} paused the queue {name} at {}: {why}", at.format("%Y-%m-%d %H:%M:%S UTC"));
            findings.push(Finding::warning("QUEUE_PAUSED", cause, format!("ops resume {name}")));
        } else if let Some(since) = queue.since {
            let since = since.format("%Y-%m-%d %H:%M:%S UTC");
            let cause = format!("the queue {name} waits since {since}: {}", queue.reason.unwrap_or_default());
            let remedy =
                "restore what the queue depends on; its jobs continue by themselves, and none has lost an attempt";
            findings.push(Finding::problem("DEPENDENCY_DOWN", cause, remedy));
        } else if queue.overdue > 0 {
            let cause = format!("jobs of the queue {name} overdue by more than 30 s: {}", queue.overdue);
            let remedy = "check that its consumer (workers, or query for projections) runs and keeps up";
            findings.push(Finding::problem("JOBS_OVERDUE", cause, remedy));
        }
        if queue.unknown > 0 {
            let (jobs, reason) = (queue.unknown, queue.unknown_reason.unwrap_or_default());
            let remedy = "upgrade the processes that still run the old release; the jobs are dead after an hour";
            findings.push(Finding::problem(
                "EVENTS_UNKNOWN",
                format!("jobs of the queue {name}: {jobs}: {reason}"),
                remedy,
            ));
        }
        if queue.dead > 0 {
            let cause = format!("dead jobs in the queue {name}: {}", queue.dead);
            let remedy =
                format!("find out why: ops jobs --queue {name}; then ops retry --queue {name}, or ops discard ID");
            findings.push(Finding::problem("JOBS_DEAD", cause, remedy));
        }
        if queue.in_doubt > 0 {
            let cause = format!("jobs in doubt in the queue {name}: {}", queue.in_doubt);
            findings.push(Finding::warning(
                "JOBS_IN_DOUBT",
                cause,
                "nothing to do: the worker looks their effects up before it tries them again",
            ));
        }
        if queue.silent > 0 {
            let cause =
                format!("running jobs of the queue {name} whose lease ended more than 30 s ago: {}", queue.silent);
            findings.push(Finding::problem(
                "JOBS_SILENT",
                cause,
                "start the process that consumes the queue: it takes them over",
            ));
        }
    }
    Ok(findings)
}

/// In an ordered queue the later versions of an aggregate wait behind a dead job. Names the one with the most behind it, in
/// each queue.
async fn blocked(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let blocked = sqlx::query!(
        r#"
        with dead as materialized (
            select letter.queue, letter.event_id
            from messaging.queues
            cross join lateral (select queue, event_id from messaging.dead_letters where queue = name limit $1) as letter
            where ordered
        )
        select distinct on (dead.queue) dead.queue as "queue!", dead.event_id as "event_id!", aggregate_id as "aggregate_id!",
               behind as "behind!", count(*) over (partition by dead.queue) as "aggregates!"
        from dead
        join messaging.inbox as job on job.queue = dead.queue and job.event_id = dead.event_id
        cross join lateral (
            select count(*) as behind from messaging.inbox as later
            where later.queue = dead.queue and later.aggregate_id = job.aggregate_id and later.run_at is null
        ) as line
        where behind > 0
        order by dead.queue, behind desc, dead.event_id
        "#,
        COUNTED,
    )
    .fetch_all(pool)
    .await?;
    let findings = blocked.into_iter().map(|row| {
        let (queue, id) = (row.queue, row.event_id);
        let cause = format!(
            "{} events of {} wait behind the dead job of {id} in the ordered queue {queue}; aggregates that wait so: {}",
            row.behind, row.aggregate_id, row.aggregates
        );
        let remedy = format!("find out why: ops show {id}; then ops retry --id {id}, or ops discard {id} to go on without it");
        Finding::problem("JOBS_BLOCKED", cause, remedy)
    });
    Ok(findings.collect())
}

/// The projector has no jobs. It follows the log, and its marks say how far it has come.
async fn projections(pool: &PgPool) -> sqlx::Result<Option<Finding>> {
    let behind = sqlx::query!(
        r#"
        select event.shard, extract(epoch from clock_timestamp() - occurred_at)::bigint as "seconds!",
               (select count(*) from messaging.readers where consumer = 'projections' and expires_at > clock_timestamp()) as "alive!"
        from messaging.outbox as event
        join messaging.last_marks as last on last.consumer = 'projections' and last.shard = event.shard
        where event.position > (select min(mark) from messaging.last_marks where consumer = 'projections')
          and event.position > last.mark and occurred_at < clock_timestamp() - interval '30 seconds'
          and not exists (select from messaging.queues where name = 'projections' and paused_at is not null)
        order by event.position
        limit 1
        "#
    )
    .fetch_optional(pool)
    .await?;
    Ok(behind.map(|behind| {
        let (shard, seconds) = (behind.shard, behind.seconds);
        let cause = format!("an event of the shard {shard} has waited for the projector for {seconds} s");
        let remedy = match behind.alive {
            0 => "start query: no projector is alive",
            _ => "see the other findings; if there are none, it is working off a backlog, or the log of query says what is wrong",
        };
        Finding::problem("PROJECTIONS_BEHIND", cause, remedy)
    }))
}
