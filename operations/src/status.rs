//! How things stand, on one screen.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::OperationError;
use super::acts::{self, Act};
use super::queues::{self, QueueStatus};

/// The newest published events by which the rate is told; going through all of a day would take seconds.
const RATE_SAMPLE: i64 = 10_000;
/// Acts shown.
const LAST_ACTS: i64 = 5;

/// How things stand.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SystemStatus {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// Those that are alive.
    pub relays: Vec<RelayStatus>,
    /// Shards that no living relay holds.
    pub shards_free: i64,
    pub outbox: OutboxStatus,
    pub queues: Vec<QueueStatus>,
    /// The last five, newest first.
    pub acts: Vec<Act>,
}

/// A relay that is alive.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RelayStatus {
    pub name: String,
    /// When it counts as dead if it is not heard of.
    pub expires_at: DateTime<Utc>,
    /// What it may publish, 0 to 15.
    pub shards: Vec<i16>,
}

/// The outbox.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutboxStatus {
    pub pending: i64,
    /// Without those that were skipped.
    pub parked: i64,
    /// When the event happened that is first in line.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Above ten thousand a minute: told by the last ten thousand.
    pub published_per_minute: i64,
}

/// Looks at everything.
pub async fn status(pool: &PgPool) -> Result<SystemStatus, OperationError> {
    let now = sqlx::query!(
        r#"
        select clock_timestamp() as "at!",
               (select count(*) from messaging.shard_leases
                where owner is null or expires_at <= clock_timestamp()) as "shards_free!"
        "#
    )
    .fetch_one(pool)
    .await?;
    Ok(SystemStatus {
        at: now.at,
        relays: relays(pool).await?,
        shards_free: now.shards_free,
        outbox: outbox(pool).await?,
        queues: queues::list(pool).await?,
        acts: acts::list(pool, LAST_ACTS).await?,
    })
}

async fn relays(pool: &PgPool) -> sqlx::Result<Vec<RelayStatus>> {
    sqlx::query_as!(
        RelayStatus,
        r#"
        select name, expires_at,
               array(select shard from messaging.shard_leases as lease
                     where owner = name and lease.expires_at > clock_timestamp() order by shard) as "shards!"
        from messaging.relay_instances where expires_at > clock_timestamp() order by name
        "#
    )
    .fetch_all(pool)
    .await
}

async fn outbox(pool: &PgPool) -> sqlx::Result<OutboxStatus> {
    let backlog = sqlx::query!(
        r#"select pending as "pending!", parked as "parked!", oldest_pending from messaging.outbox_backlog"#
    )
    .fetch_one(pool)
    .await?;
    let published_per_minute = sqlx::query_scalar!(
        r#"
        with newest as (
            select published_at from messaging.outbox where published_at is not null order by event_id desc limit $1
        ), recent as (
            select count(*) as events, count(*) = $1 and bool_and(published_at > clock_timestamp() - interval '1 minute') as all_of_them,
                   count(*) filter (where published_at > clock_timestamp() - interval '1 minute') as last_minute,
                   extract(epoch from clock_timestamp() - min(published_at)) as seconds
            from newest
        )
        select case when all_of_them then (events * 60 / greatest(seconds, 0.001))::bigint else last_minute end as "rate!"
        from recent
        "#,
        RATE_SAMPLE,
    )
    .fetch_one(pool)
    .await?;
    Ok(OutboxStatus {
        pending: backlog.pending,
        parked: backlog.parked,
        oldest_pending: backlog.oldest_pending,
        published_per_minute,
    })
}
