//! How the system is doing, on one screen.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use super::actions::{self, OperatorAction};
use super::queues::{self, QueueStatus};
use crate::OperationError;

const ACTIONS_SHOWN: i64 = 5;

/// How the system is doing.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SystemStatus {
    /// The database's clock.
    pub at: DateTime<Utc>,
    /// The living relays.
    pub relays: Vec<RelayStatus>,
    /// Shards that no living relay has leased.
    pub shards_free: i64,
    pub outbox: OutboxStatus,
    pub queues: Vec<QueueStatus>,
    /// The latest five, newest first.
    pub actions: Vec<OperatorAction>,
}

/// A living relay.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RelayStatus {
    pub name: String,
    /// The relay counts as dead after this time, unless it renews it.
    pub expires_at: DateTime<Utc>,
    /// The shards it may publish, 0 to 15.
    pub shards: Vec<i16>,
}

/// The outbox. The counts of events end at 10,000 pending ones, as many that failed or wait behind others, and as many parked
/// ones.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OutboxStatus {
    pub pending: i64,
    /// Without skipped events.
    pub parked: i64,
    /// When the first event in line occurred.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Events in the batches of the last minute.
    pub published_per_minute: i64,
}

/// Reads the whole status.
pub async fn status(pool: &PgPool) -> Result<SystemStatus, OperationError> {
    let now = sqlx::query!(
        r#"
        select clock_timestamp() as "at!",
               (select count(*) from messaging.shard_leases
                where consumer = 'relay'
                  and shard not in (select shard from messaging.held_shards where consumer = 'relay')) as "shards_free!"
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
        actions: actions::list(pool, ACTIONS_SHOWN).await?.data,
    })
}

async fn relays(pool: &PgPool) -> sqlx::Result<Vec<RelayStatus>> {
    sqlx::query_as!(
        RelayStatus,
        r#"
        select name, expires_at,
               array(select shard from messaging.shard_leases as lease
                     where lease.consumer = 'relay' and owner = name order by shard) as "shards!"
        from messaging.readers
        where consumer = 'relay' and expires_at > clock_timestamp()
        order by name
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
        select coalesce(sum(cardinality(positions)), 0)::bigint as "events!"
        from messaging.relay_batches
        where batch_id >= messaging.lowest_event_id(now() - interval '1 minute')
        "#
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
