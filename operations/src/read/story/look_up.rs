//! The SQL of a story.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Step, StoryDocument, StoryEmail, StoryEvent, StoryRefund, StoryReturn, StoryWebhook};
use crate::read::{jobs, show};

/// The latest steps are told.
const MOST_STEPS: i64 = 500;

/// The order that is meant. Each branch has an index; an order number counts before the number of a document.
pub(super) async fn find(pool: &PgPool, of: &str) -> sqlx::Result<Option<Uuid>> {
    let id = Uuid::try_parse(of).ok();
    sqlx::query_scalar!(
        r#"
        with meant (id) as materialized (
            select $1::uuid union all select aggregate_id from messaging.outbox where event_id = $1
        ), source (id) as materialized (
            select id from meant
            union all select source_id from work.credit_notes where id = any(array(select id from meant))
            union all select source_id from work.credit_notes where credit_note_number = $2
        )
        select id as "id!"
        from (
            select id, 1 as place from command.orders where order_number = $2
            union all select id, 2 from command.orders where id = any(array(select id from source))
            union all select order_id, 3 from command.returns where id = any(array(select id from source))
            union all select order_id, 4 from command.refunds where id = any(array(select id from source))
            union all select order_id, 5 from work.invoices where id = any(array(select id from source))
            union all select order_id, 6 from work.invoices where invoice_number = $2
        ) as found
        order by place
        limit 1
        "#,
        id,
        of,
    )
    .fetch_optional(pool)
    .await
}

/// A row of the audit, and its event if the log still has it.
pub(super) struct Row {
    at: DateTime<Utc>,
    entity_type: String,
    pub(super) entity_id: Uuid,
    version: i32,
    from_state: Option<String>,
    to_state: String,
    actor: String,
    trigger: String,
    request_id: Option<String>,
    trace_id: Option<String>,
    pub(super) event_id: Option<Uuid>,
}

pub(super) async fn steps(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Vec<Row>> {
    let mut latest = sqlx::query_as!(
        Row,
        r#"
        with source (kind, id) as (
            select 'order', $1::uuid
            union all select 'return', id from command.returns where order_id = $1
            union all select 'refund', id from command.refunds where order_id = $1
        ), entity (kind, id) as (
            select kind, id from source
            union all select 'invoice', id from work.invoices where order_id = $1
            union all select 'credit_note', id from work.credit_notes where source_id in (select id from source)
        )
        select created_at as "at!", entity_type as "entity_type!", entity_id as "entity_id!", version as "version!", from_state,
               to_state as "to_state!",
               case when metadata ? 'by_customer' or actor = (select customer_id from command.orders where orders.id = $1)
                   then 'customer' else actor end as "actor!",
               trigger as "trigger!", request_id, trace_id, null::uuid as event_id
        from entity join command.state_transitions as step on entity_type = kind and entity_id = id
        order by created_at desc, position desc
        limit $2
        "#,
        order_id,
        MOST_STEPS,
    )
    .fetch_all(pool)
    .await?;
    latest.reverse();
    Ok(latest)
}

/// Finds the events of steps that have none yet. No index has the aggregate of an event. But its id begins with its time, so for each
/// step those of a moment are looked at.
pub(super) async fn find_events(pool: &PgPool, rows: &mut [Row], within: (TimeDelta, TimeDelta)) -> sqlx::Result<()> {
    let mut without: Vec<&mut Row> = rows.iter_mut().filter(|row| row.event_id.is_none()).collect();
    let ids: Vec<Uuid> = without.iter().map(|row| row.entity_id).collect();
    let versions: Vec<i32> = without.iter().map(|row| row.version).collect();
    let from: Vec<DateTime<Utc>> = without.iter().map(|row| row.at - within.0).collect();
    let until: Vec<DateTime<Utc>> = without.iter().map(|row| row.at + within.1).collect();
    let found = sqlx::query!(
        r#"
        select n as "n!", event.event_id as "event_id!"
        from unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[]) with ordinality as step (entity_id, version, from_at, until_at, n)
        cross join lateral (
            select event_id from messaging.outbox
            where event_id >= messaging.lowest_event_id(from_at) and event_id < messaging.lowest_event_id(until_at)
              and aggregate_id = entity_id and aggregate_version = version and event_type <> 'snapshot.taken'
            limit 1
        ) as event
        "#,
        &ids,
        &versions,
        &from,
        &until,
    )
    .fetch_all(pool)
    .await?;
    for found in found {
        if let Some(row) = usize::try_from(found.n - 1).ok().and_then(|place| without.get_mut(place)) {
            row.event_id = Some(found.event_id);
        }
    }
    Ok(())
}

impl Row {
    pub(super) fn with_its(self, events: &mut HashMap<Uuid, StoryEvent>) -> Step {
        Step {
            at: self.at,
            entity_type: self.entity_type,
            entity_id: self.entity_id,
            version: self.version,
            from_state: self.from_state,
            to_state: self.to_state,
            actor: self.actor,
            trigger: self.trigger,
            request_id: self.request_id,
            trace_id: self.trace_id,
            event: self.event_id.and_then(|id| events.remove(&id)),
        }
    }
}

/// The events with what came of them.
pub(super) async fn events(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<HashMap<Uuid, StoryEvent>> {
    let events = show::of_ids(pool, ids).await?.into_iter();
    let mut events: HashMap<Uuid, StoryEvent> = events.map(|event| (event.event_id, event.into())).collect();
    for job in jobs::of_events(pool, ids).await? {
        if let Some(event) = events.get_mut(&job.event_id) {
            event.jobs.push(job.into());
        }
    }
    for email in emails(pool, ids).await? {
        if let Some(event) = events.get_mut(&email.event_id) {
            event.emails.push(email);
        }
    }
    for webhook in webhooks(pool, ids).await? {
        if let Some(event) = events.get_mut(&webhook.event_id) {
            event.webhooks.push(webhook);
        }
    }
    Ok(events)
}

async fn emails(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<StoryEmail>> {
    sqlx::query_as!(
        StoryEmail,
        "select event_id, kind, status, message_id, recorded_at, sent_at from work.emails where event_id = any($1) order by event_id, kind",
        ids,
    )
    .fetch_all(pool)
    .await
}

async fn webhooks(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<StoryWebhook>> {
    sqlx::query_as!(
        StoryWebhook,
        r#"
        select event_id, endpoint_id, url, status, attempts, due_at, settled_at, last_error
        from messaging.webhook_deliveries join messaging.webhook_endpoints as endpoint on endpoint.id = endpoint_id
        where event_id = any($1)
        order by event_id, url
        "#,
        ids,
    )
    .fetch_all(pool)
    .await
}

pub(super) async fn returns(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Vec<StoryReturn>> {
    sqlx::query_as!(
        StoryReturn,
        "select id, state, version, created_at from command.returns where order_id = $1 order by created_at, id",
        order_id,
    )
    .fetch_all(pool)
    .await
}

pub(super) async fn refunds(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Vec<StoryRefund>> {
    sqlx::query_as!(
        StoryRefund,
        r#"
        select id, return_id, kind, status, amount_minor, transaction_id, gateway_reference, created_at, processed_at
        from command.refunds where order_id = $1 order by created_at, id
        "#,
        order_id,
    )
    .fetch_all(pool)
    .await
}

pub(super) async fn documents(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Vec<StoryDocument>> {
    sqlx::query_as!(
        StoryDocument,
        r#"
        select id as "id!", 'invoice' as "kind!", order_id as "source_id!", invoice_number as "number!", issued_at as "issued_at!", stored_at, size_bytes
        from work.invoices where order_id = $1
        union all
        select id, 'credit_note', source_id, credit_note_number, issued_at, stored_at, size_bytes
        from work.credit_notes
        where source_id in (select id from command.returns where order_id = $1
                            union all select id from command.refunds where order_id = $1)
        order by 5, 4
        "#,
        order_id,
    )
    .fetch_all(pool)
    .await
}
