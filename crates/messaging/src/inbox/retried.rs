//! The dead events of a consumer that follows the log: it has rows in the inbox only for what it could not read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::Queue;
use runtime::database::interval;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::job::{Job, Row};
use crate::looks::{COMMITS_WITHIN, Looks};

/// No job of the queue that could start is due earlier. Jobs that are done keep their entries in the index until their partition goes.
#[derive(Debug)]
pub struct RetriedFrom {
    queue: Queue,
    at: DateTime<Utc>,
    looks: Looks,
}

impl RetriedFrom {
    pub fn unknown(queue: Queue) -> Self {
        Self { queue, at: DateTime::UNIX_EPOCH, looks: Looks::default() }
    }

    /// Looks at everything, if it is time to. If that fails, the bound stays where it is.
    pub async fn renew(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        let look = sqlx::query_scalar!(
            r#"
            select least(
                (select run_at from messaging.inbox
                 where queue = $1 and status in ('ready', 'in_doubt') and run_at is not null order by run_at limit 1),
                statement_timestamp() - $2::interval) as "at!"
            "#,
            self.queue.as_str(),
            interval(COMMITS_WITHIN),
        )
        .fetch_one(pool);
        if let Some(at) = self.looks.take(look).await? {
            self.at = at;
        }
        Ok(())
    }
}

/// Locks up to `limit` jobs that an operator has retried, or that were postponed, for the caller's transaction.
pub async fn take_retried(conn: &mut PgConnection, from: &RetriedFrom, limit: i64) -> sqlx::Result<Vec<Job>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        with due as materialized (
            select event_id, aggregate_id, aggregate_version, received_at, attempts, status
            from messaging.inbox
            where queue = $1 and status in ('ready', 'in_doubt')
              and run_at >= $3 and run_at <= (select clock_timestamp())
            order by run_at
            limit $2
            for update skip locked
        )
        select due.event_id as "event_id!", due.aggregate_id as "aggregate_id!", due.aggregate_version as "aggregate_version!",
               received_at as "received_at!", attempts + 1 as "attempts!", status = 'in_doubt' as "in_doubt!",
               event_type as "event_type?", aggregate_type as "aggregate_type?", payload_text as payload,
               headers as "headers?: Json<Box<RawValue>>", occurred_at as "occurred_at?"
        from due
        left join lateral (
            select event_type, aggregate_type, payload_text, headers, occurred_at
            from messaging.events where event_id = due.event_id limit 1
        ) as event on true
        "#,
        from.queue.as_str(),
        limit,
        from.at,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_job(from.queue, Uuid::nil())).collect())
}

/// Marks rows taken with [`take_retried`] as done.
pub async fn finish_retried(conn: &mut PgConnection, queue: Queue, event_ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update messaging.inbox
        set status = 'done', attempts = attempts + 1, finished_at = clock_timestamp()
        where queue = $1 and event_id = any($2)
        "#,
        queue.as_str(),
        event_ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts an event off, which this release does not know. [`take_retried`] finds it again after this wait.
pub async fn postpone(conn: &mut PgConnection, job: &Job, reason: &str, wait: Duration) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into messaging.inbox as job (queue, event_id, aggregate_id, aggregate_version, run_at, last_error)
        values ($1, $2, $3, $4, messaging.due_now($1) + $5, $6)
        on conflict (queue, event_id) do update set run_at = excluded.run_at, last_error = excluded.last_error
        where job.status in ('ready', 'in_doubt')
        "#,
        job.queue.as_str(),
        job.event_id,
        job.aggregate_id,
        job.aggregate_version,
        interval(wait),
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records an event as dead: it cannot be consumed, and a retry would not change that.
pub async fn dead_letter(conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with dead as (
            insert into messaging.inbox as job
                (queue, event_id, aggregate_id, aggregate_version, run_at, status, attempts, finished_at, last_error)
            values ($1, $2, $3, $4, clock_timestamp(), 'dead', 1, clock_timestamp(), $5)
            on conflict (queue, event_id) do update
            set status = 'dead', attempts = job.attempts + 1, finished_at = clock_timestamp(), last_error = excluded.last_error
            where job.status not in ('done', 'discarded')
            returning queue, event_id
        )
        insert into messaging.dead_letters (queue, event_id, last_error) select queue, event_id, $5 from dead on conflict do nothing
        "#,
        job.queue.as_str(),
        job.event_id,
        job.aggregate_id,
        job.aggregate_version,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}
