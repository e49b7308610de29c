//! The consumers: paused queues, dead jobs, jobs in doubt, and jobs that no worker takes.

use sqlx::PgPool;

use super::Finding;

pub(super) async fn findings(pool: &PgPool) -> sqlx::Result<Vec<Finding>> {
    let queues = sqlx::query!(
        r#"
        with open as (
            select queue as name, count(*) filter (where status = 'dead') as dead,
                   count(*) filter (where status = 'in_doubt') as in_doubt,
                   count(*) filter (where status = 'running' and leased_until < clock_timestamp() - interval '30 seconds') as silent,
                   count(*) filter (where status in ('ready', 'in_doubt') and run_at < clock_timestamp() - interval '30 seconds') as overdue
            from messaging.inbox
            where status in ('ready', 'in_doubt') or status = 'running' or status = 'dead'
            group by queue
        )
        select name as "name!", coalesce(dead, 0) as "dead!", coalesce(in_doubt, 0) as "in_doubt!", coalesce(silent, 0) as "silent!",
               coalesce(overdue, 0) as "overdue!", paused_at, paused_by, paused_reason
        from messaging.queues left join open using (name) order by name
        "#
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
        } else if queue.overdue > 0 {
            let cause = format!("jobs of the queue {name} overdue by more than 30 s: {}", queue.overdue);
            let remedy = "check that its consumer (workers, or query for projections) runs and keeps up";
            findings.push(Finding::problem("JOBS_OVERDUE", cause, remedy));
        }
        if queue.dead > 0 {
            let cause = format!("dead jobs in the queue {name}: {}", queue.dead);
            let remedy = format!("find out why: ops jobs --queue {name}; then ops retry --queue {name}");
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
