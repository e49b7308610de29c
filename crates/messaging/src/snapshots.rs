//! Republishing the state and the history of every aggregate, through the outbox like every other event.
//!
//! Retention drops events. A rebuild of the read models after that learns from snapshots what was in them. Each owner of
//! aggregates republishes all of its own. It does not ask which ones have lost events, because retention goes on
//! dropping partitions while it runs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{EntityType, EventType};
use runtime::{Clock, Ids};
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// Aggregates in one transaction.
const PAGE: i64 = 500;

/// An aggregate as its owner knows it.
#[derive(Debug)]
pub struct Current {
    pub id: Uuid,
    pub version: i32,
    /// As in the outbox row of its last event.
    pub payload: Json<Box<RawValue>>,
}

/// How fast snapshots are published, on the command line of each owner.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Pace {
    /// Snapshots per second, at most (1 to 100,000). New events wait behind them.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub per_second: u32,
}

/// Publishes snapshots of all aggregates of an owner.
#[derive(Debug, Clone)]
pub struct Republisher {
    pub pool: PgPool,
    pub clock: Clock,
    pub ids: Ids,
    /// Snapshots per second, at most. New events wait behind them.
    pub per_second: u32,
}

impl Republisher {
    /// Publishes a snapshot of every aggregate of a kind. `page` reads them in the order of their ids: those after the
    /// given id, as many as the given limit. Returns how many were published.
    pub async fn republish(
        &self,
        kind: EntityType,
        page: impl AsyncFn(&mut PgConnection, Uuid, i64) -> sqlx::Result<Vec<Current>>,
    ) -> sqlx::Result<u64> {
        let mut interval =
            tokio::time::interval(Duration::from_secs(1) * u32::try_from(PAGE).unwrap_or(1) / self.per_second);
        let (mut after, mut published) = (Uuid::nil(), 0);
        loop {
            interval.tick().await;
            let mut tx = self.pool.begin().await?;
            let aggregates = page(&mut tx, after, PAGE).await?;
            let Some(last) = aggregates.last() else { return Ok(published) };
            after = last.id;
            published += self.record(&mut tx, kind, &aggregates).await?;
            tx.commit().await?;
        }
    }

    /// A reader of the event finds the history in the audit, up to this version.
    async fn record(&self, conn: &mut PgConnection, kind: EntityType, aggregates: &[Current]) -> sqlx::Result<u64> {
        let count = aggregates.len();
        sqlx::query_scalar!(
            "select messaging.append_events($1, $2, $3, $4, $5, $6, $7, $8)",
            kind.as_str(),
            &aggregates.iter().map(|_| self.ids.next()).collect::<Vec<_>>(),
            &aggregates.iter().map(|aggregate| aggregate.id).collect::<Vec<_>>(),
            &aggregates.iter().map(|aggregate| aggregate.version).collect::<Vec<_>>(),
            &vec![EventType::SnapshotTaken.as_str(); count] as _,
            &aggregates.iter().map(|aggregate| &aggregate.payload).collect::<Vec<_>>() as _,
            &vec![None::<&str>; count] as _,
            &vec![self.clock.now(); count],
        )
        .fetch_one(conn)
        .await?;
        Ok(count as u64)
    }

    /// Records that snapshots of all aggregates of `source` have been published since `started_at`.
    pub async fn finish(&self, source: &str, started_at: DateTime<Utc>, published: u64) -> sqlx::Result<()> {
        sqlx::query!(
            r#"
            insert into messaging.snapshot_runs (source, started_at, finished_at, aggregates) values ($1, $2, $3, $4)
            on conflict (source) do update
            set started_at = excluded.started_at, finished_at = excluded.finished_at, aggregates = excluded.aggregates
            "#,
            source,
            started_at,
            self.clock.now(),
            i64::try_from(published).unwrap_or(i64::MAX),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
