//! Putting events into a queue.

use chrono::{DateTime, Utc};
use contracts::{Envelope, Headers, Queue};
use serde_json::value::RawValue;
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

/// Puts events into a queue and leaves alone those that it has seen before. Returns how many were new.
pub async fn insert(executor: impl PgExecutor<'_>, queue: Queue, events: &[Envelope]) -> sqlx::Result<u64> {
    let mut columns = Columns::default();
    for event in events {
        columns.push(event);
    }
    let inserted = sqlx::query!(
        r#"
        insert into messaging.inbox
            (queue, event_id, event_type, aggregate_type, aggregate_id, aggregate_version, payload, headers, occurred_at)
        select $1, event.*
        from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::int[], $7::jsonb[], $8::jsonb[], $9::timestamptz[])
            as event
        on conflict do nothing
        "#,
        queue.as_str(),
        &columns.event_id,
        &columns.event_type,
        &columns.aggregate_type,
        &columns.aggregate_id,
        &columns.aggregate_version,
        &columns.payload as _,
        &columns.headers as _,
        &columns.occurred_at,
    )
    .execute(executor)
    .await?;
    Ok(inserted.rows_affected())
}

#[derive(Default)]
struct Columns<'a> {
    event_id: Vec<Uuid>,
    event_type: Vec<String>,
    aggregate_type: Vec<String>,
    aggregate_id: Vec<Uuid>,
    aggregate_version: Vec<i32>,
    payload: Vec<Json<&'a RawValue>>,
    headers: Vec<Json<&'a Headers>>,
    occurred_at: Vec<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, event: &'a Envelope) {
        self.event_id.push(event.event_id);
        self.event_type.push(event.event_type.clone());
        self.aggregate_type.push(event.aggregate_type.as_str().to_owned());
        self.aggregate_id.push(event.aggregate_id);
        self.aggregate_version.push(event.aggregate_version);
        self.payload.push(Json(&event.payload));
        self.headers.push(Json(&event.headers));
        self.occurred_at.push(event.occurred_at);
    }
}
