//! Republishing the state and the history of every aggregate, through the outbox like every other event.
//!
//! Retention drops events. A rebuild of the read models after that learns from snapshots what was in them. Each owner of
//! aggregates republishes all of its own. It does not ask which ones have lost events, because retention goes on
//! dropping partitions while it runs.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{ActorType, EntityType, EventType, Headers, Retold, StateChanged, Transition, Trigger};
use runtime::{Clock, Ids};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
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
    /// As the snapshot of its last event.
    pub document: Json<Box<RawValue>>,
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

    async fn record(&self, conn: &mut PgConnection, kind: EntityType, aggregates: &[Current]) -> sqlx::Result<u64> {
        let ids: Vec<Uuid> = aggregates.iter().map(|aggregate| aggregate.id).collect();
        let mut histories = histories(conn, kind, &ids).await?;
        let headers = Headers { actor: Some("snapshots".to_owned()), ..Headers::default() };
        let (mut event_ids, mut aggregate_ids, mut versions, mut payloads) = (vec![], vec![], vec![], vec![]);
        for aggregate in aggregates {
            let mut history = histories.remove(&aggregate.id).unwrap_or_default();
            // It may have changed since it was read; that change has an event of its own.
            history.retain(|step| step.version <= aggregate.version);
            let Some(transition) = history.last().cloned() else { continue };
            let last = StateChanged { snapshot: &aggregate.document.0, transition };
            let payload = to_raw_value(&Retold { last, history }).map_err(|error| sqlx::Error::Encode(error.into()))?;
            event_ids.push(self.ids.next());
            aggregate_ids.push(aggregate.id);
            versions.push(aggregate.version);
            payloads.push(Json(payload));
        }
        let count = event_ids.len();
        sqlx::query_scalar!(
            "select messaging.append_events($1, $2, $3, $4, $5, $6, $7, $8)",
            kind.as_str(),
            &event_ids,
            &aggregate_ids,
            &versions,
            &vec![EventType::SnapshotTaken.as_str(); count] as _,
            &payloads as _,
            &vec![Json(&headers); count] as _,
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

/// A row of the audit.
struct Step {
    entity_id: Uuid,
    version: i32,
    from_state: Option<String>,
    to_state: String,
    actor: String,
    actor_type: String,
    trigger: String,
    reason: Option<String>,
    metadata: Value,
    ip_address: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    created_at: DateTime<Utc>,
}

impl Step {
    fn into_transition(self, entity_type: EntityType) -> sqlx::Result<Transition> {
        let unknown = |what: &str| {
            sqlx::Error::Decode(format!("the audit names {what}, which this release does not know").into())
        };
        Ok(Transition {
            entity_type,
            entity_id: self.entity_id,
            version: self.version,
            from_state: self.from_state,
            to_state: self.to_state,
            actor: self.actor,
            actor_type: ActorType::parse(&self.actor_type).ok_or_else(|| unknown(&self.actor_type))?,
            trigger: Trigger::parse(&self.trigger).ok_or_else(|| unknown(&self.trigger))?,
            reason: self.reason,
            metadata: self.metadata,
            ip_address: self.ip_address,
            request_id: self.request_id,
            trace_id: self.trace_id,
            created_at: self.created_at,
        })
    }
}

async fn histories(
    conn: &mut PgConnection,
    kind: EntityType,
    ids: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, Vec<Transition>>> {
    let steps = sqlx::query_as!(
        Step,
        r#"
        select entity_id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata,
               host(ip_address) as ip_address, request_id, trace_id, created_at
        from command.state_transitions
        where entity_type = $1 and entity_id = any($2)
        order by entity_id, version
        "#,
        kind.as_str(),
        ids,
    )
    .fetch_all(conn)
    .await?;
    let mut histories: HashMap<Uuid, Vec<Transition>> = HashMap::with_capacity(ids.len());
    for step in steps {
        histories.entry(step.entity_id).or_default().push(step.into_transition(kind)?);
    }
    Ok(histories)
}
