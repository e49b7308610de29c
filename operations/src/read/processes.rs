//! The processes that use the database: what each reads or works on, and until when its lease holds.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::OperationError;

/// Running jobs of a worker that are counted, at most.
const MOST: i64 = 10_000;

/// All processes.
#[derive(Debug)]
pub struct Processes {
    /// The database's clock.
    pub at: DateTime<Utc>,
    pub connected: Vec<Connected>,
    pub readers: Vec<Reader>,
    pub workers: Vec<Worker>,
}

/// A program that is connected from one machine.
#[derive(Debug)]
pub struct Connected {
    pub program: String,
    /// Null: by a socket of the server's own machine.
    pub machine: Option<String>,
    /// The newest migration that it knows. Null: no program of ours.
    pub knows: Option<i64>,
    pub connections: i64,
    pub since: DateTime<Utc>,
    /// When the oldest of its open transactions began.
    pub oldest_transaction_at: Option<DateTime<Utc>>,
}

/// A relay, projector or sender of webhooks that reads the log.
#[derive(Debug)]
pub struct Reader {
    pub consumer: String,
    pub name: String,
    pub shards: Vec<i16>,
    pub expires_at: DateTime<Utc>,
    /// When the mark of one of its shards moved last.
    pub moved_at: Option<DateTime<Utc>>,
}

/// A process that works on a queue.
#[derive(Debug)]
pub struct Worker {
    pub queue: String,
    pub owner: String,
    pub running: i64,
    pub expires_at: DateTime<Utc>,
}

/// Reads all of them.
pub async fn processes(pool: &PgPool) -> Result<Processes, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    Ok(Processes {
        at,
        connected: connected(pool).await?,
        readers: readers(pool).await?,
        workers: workers(pool).await?,
    })
}

async fn connected(pool: &PgPool) -> sqlx::Result<Vec<Connected>> {
    sqlx::query_as!(
        Connected,
        r#"
        select coalesce(nullif(application_name, ''), 'unnamed') as "program!", host(client_addr) as machine, max(lock.objid::bigint) as knows,
               count(*) as "connections!", min(backend_start) as "since!", min(xact_start) as oldest_transaction_at
        from pg_stat_activity as session
        left join pg_locks as lock
          on lock.pid = session.pid and locktype = 'advisory' and classid = 1 and objsubid = 2 and lock.database = session.datid
        where session.datname = current_database() and backend_type = 'client backend'
        group by 1, 2
        order by 1, 2
        "#
    )
    .fetch_all(pool)
    .await
}

async fn readers(pool: &PgPool) -> sqlx::Result<Vec<Reader>> {
    sqlx::query_as!(
        Reader,
        r#"
        select consumer, name, expires_at, coalesce(shards, '{}') as "shards!", moved_at
        from messaging.readers as reader
        cross join lateral (
            select array_agg(lease.shard order by lease.shard) as shards, max(moved.at) as moved_at
            from messaging.shard_leases as lease
            left join lateral (
                select at from messaging.marks as mark
                where mark.consumer = lease.consumer and mark.shard = lease.shard order by id desc limit 1
            ) as moved on true
            where lease.consumer = reader.consumer and owner = name
        ) as its
        order by consumer, name
        "#
    )
    .fetch_all(pool)
    .await
}

async fn workers(pool: &PgPool) -> sqlx::Result<Vec<Worker>> {
    sqlx::query_as!(
        Worker,
        r#"
        select worker.queue, worker.owner, worker.expires_at,
               (select count(*) from (select from messaging.running_jobs as running
                                      where running.queue = worker.queue and lease_owner = worker.owner limit $1) as job) as "running!"
        from messaging.workers as worker
        order by worker.queue, worker.owner
        "#,
        MOST,
    )
    .fetch_all(pool)
    .await
}
