//! How long jobs took, minute by minute: rolled up once a minute, so that plots of an hour or a day read a few hundred rows.

use std::time::Duration;

use chrono::{DateTime, Utc};
use runtime::Tasks;
use runtime::database::interval;
use sqlx::PgPool;

/// How often a process looks whether a minute is to be rolled up.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A minute is rolled up so long after its end: most of its jobs are done by then.
const AFTER: Duration = Duration::from_secs(120);
/// Figures are kept for so long.
const KEEP: Duration = Duration::from_secs(8 * 86_400);
/// Jobs of a queue and a minute that are looked at, at most.
const MOST: i64 = 20_000;

/// Figures of some minutes and one queue, or all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// When the first of these minutes begins.
    pub at: DateTime<Utc>,
    pub jobs: i64,
    pub dead: i64,
    pub arrive: Hop,
    pub wait: Hop,
    pub run: Hop,
}

/// How long a hop took, in milliseconds.
///
/// Of several minutes or queues: the mean of the medians, weighted by jobs, and the greatest 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Hop {
    pub p50: Option<f32>,
    pub p99: Option<f32>,
}

/// Rolls up until the process stops.
pub fn run(pool: &PgPool, tasks: &Tasks) {
    let (pool, shutdown) = (pool.clone(), tasks.shutdown.clone());
    tasks.spawn("figures", async move {
        let mut turns = tokio::time::interval(LOOK_EVERY);
        while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
            if let Err(error) = roll_up(&pool).await {
                tracing::warn!(error = %error, "the figures of a minute could not be rolled up; the plots of the console have a gap");
            }
        }
    });
}

/// Rolls up the latest minute that is complete, unless a process has. A minute in which no process ran has no figures.
pub async fn roll_up(pool: &PgPool) -> sqlx::Result<()> {
    let minute = sqlx::query_scalar!(
        r#"
        select complete.minute as "minute!"
        from (select date_trunc('minute', clock_timestamp() - $1::interval) as minute) as complete
        where not exists (select from messaging.hop_figures as figures where figures.minute = complete.minute)
        "#,
        interval(AFTER),
    )
    .fetch_optional(pool)
    .await?;
    let Some(minute) = minute else { return Ok(()) };
    roll_up_minute(pool, minute).await?;
    sqlx::query!(
        "delete from messaging.hop_figures where minute < $1::timestamptz - $2::interval",
        minute,
        interval(KEEP)
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Writes the figures of a minute, unless they are there.
pub async fn roll_up_minute(pool: &PgPool, minute: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into messaging.hop_figures
            (minute, queue, jobs, done, dead, arrive_p50, arrive_p99, wait_p50, wait_p99, run_p50, run_p99)
        select $1, name, jobs, done, dead, arrive[1], arrive[2], wait[1], wait[2], run[1], run[2]
        from messaging.queues
        cross join lateral (
            select count(*) as jobs, count(*) filter (where status = 'done') as done, count(*) filter (where status = 'dead') as dead,
                   percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from received_at - occurred_at) * 1000) as arrive,
                   percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from started_at - run_at) * 1000) as wait,
                   percentile_cont(array[0.5, 0.99]) within group (order by extract(epoch from finished_at - started_at) * 1000) as run
            from (select job.*, event.occurred_at
                  from (select * from messaging.inbox
                        where queue = name and run_at >= $1 and run_at < $1 + interval '1 minute' limit $2) as job
                  left join messaging.outbox as event on event.event_id = job.event_id) as due
        ) as figures
        on conflict do nothing
        "#,
        minute,
        MOST,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Figures since a time, in steps of so many minutes, of one queue or all. Oldest first.
pub async fn since(
    pool: &PgPool,
    since: DateTime<Utc>,
    minutes: i32,
    queue: Option<&str>,
) -> sqlx::Result<Vec<Figure>> {
    let rows = sqlx::query!(
        r#"
        select date_bin(make_interval(mins => $2), minute, timestamptz '2000-01-01 00:00:00Z') as "at!",
               sum(jobs) as "jobs!", sum(dead) as "dead!",
               (sum(arrive_p50 * jobs) / nullif(sum(jobs) filter (where arrive_p50 is not null), 0))::real as arrive_p50, max(arrive_p99) as arrive_p99,
               (sum(wait_p50 * jobs) / nullif(sum(jobs) filter (where wait_p50 is not null), 0))::real as wait_p50, max(wait_p99) as wait_p99,
               (sum(run_p50 * jobs) / nullif(sum(jobs) filter (where run_p50 is not null), 0))::real as run_p50, max(run_p99) as run_p99
        from messaging.hop_figures
        where minute >= $1 and ($3::text is null or queue = $3)
        group by 1
        order by 1
        "#,
        since,
        minutes,
        queue,
    )
    .fetch_all(pool)
    .await?;
    let figures = rows.into_iter().map(|row| Figure {
        at: row.at,
        jobs: row.jobs,
        dead: row.dead,
        arrive: Hop { p50: row.arrive_p50, p99: row.arrive_p99 },
        wait: Hop { p50: row.wait_p50, p99: row.wait_p99 },
        run: Hop { p50: row.run_p50, p99: row.run_p99 },
    });
    Ok(figures.collect())
}
