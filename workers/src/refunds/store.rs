//! The SQL over the status of `command.refunds`.

use chrono::{DateTime, Utc};
use contracts::{EventType, RefundStatus};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Caused;

/// What is known of a refund.
#[derive(Debug)]
pub(super) struct Known {
    status: String,
    /// The event whose job waits for the gateway, if the gateway has said that the refund is under way there.
    pub(super) waiting_event_id: Option<Uuid>,
}

impl Known {
    pub(super) fn status(&self) -> Option<RefundStatus> {
        self.status.parse().ok()
    }
}

pub(super) async fn find(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Known>> {
    sqlx::query_as!(Known, "select status, waiting_event_id from command.refunds where id = $1", id)
        .fetch_optional(pool)
        .await
}

/// Notes that the gateway has taken the refund and not paid it yet, and that the job of this event waits for it.
pub(super) async fn note_waiting(pool: &PgPool, id: Uuid, event_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update command.refunds set waiting_event_id = $2 where id = $1", id, event_id).execute(pool).await?;
    Ok(())
}

/// The event whose job waits for the gateway, by the refund's key there.
pub(crate) async fn waiting(pool: &PgPool, key: Uuid) -> sqlx::Result<Option<Uuid>> {
    let found = sqlx::query_scalar!(
        r#"
        select waiting_event_id as "event_id!" from command.refunds
        where (id = $1 and return_id is null or return_id = $1 or waiting_event_id = $1) and waiting_event_id is not null
          and status in ('PENDING', 'IN_DOUBT')
        "#,
        key,
    );
    found.fetch_optional(pool).await
}

/// A change of a refund's status.
#[derive(Debug)]
pub(super) struct Change<'a> {
    /// A refund with another status stays as it is.
    pub(super) from: &'a [&'a str],
    pub(super) to: RefundStatus,
    /// For the audit, and for a failed refund.
    pub(super) reason: Option<&'a str>,
    pub(super) transaction_id: Option<&'a str>,
    pub(super) gateway_reference: Option<&'a str>,
    pub(super) event_id: Uuid,
    pub(super) event_type: EventType,
    pub(super) at: DateTime<Utc>,
}

/// Writes the change with its audit row and outbox row, in the caller's transaction.
pub(super) async fn change(
    conn: &mut PgConnection,
    id: Uuid,
    change: &Change<'_>,
    caused: &Caused,
) -> sqlx::Result<()> {
    let link = caused.link(id, change.to, change.reason, change.at);
    sqlx::query!(
        r#"
        with known as materialized (
            select id, status from command.refunds where id = $1 and status = any($2) for update
        ), changed as (
            update command.refunds as refund
            set status = $3, version = version + 1, transaction_id = $4, gateway_reference = $5,
                failure = case when $3 = 'FAILED' then $6 end, updated_at = $7,
                in_doubt_since = case when $3 = 'IN_DOUBT' then $7::timestamptz else in_doubt_since end,
                processed_at = case when $3 = 'PROCESSED' then $7::timestamptz end
            from known where refund.id = known.id
            returning refund, known.status as from_status
        )
        select command.append_transitions(array_agg(row(
                   'refund', (refund).id, (refund).version, from_status, (refund).status, 'system', 'SYSTEM', 'BACKGROUND_JOB', $6,
                   $8::jsonb, null::inet, $9::text, $10::text, $7, $14::bytea, $15::bytea)::command.new_transition)),
               messaging.append_events('refund', array_agg($11::uuid), array_agg((refund).id), array_agg((refund).version),
                   array_agg($12::text), array_agg(command.refund_document(refund)), array_agg($13::text), array_agg($7))
        from changed
        "#,
        id,
        change.from as _,
        change.to.as_str(),
        change.transaction_id,
        change.gateway_reference,
        change.reason,
        change.at,
        caused.metadata,
        caused.request_id,
        caused.trace_id,
        change.event_id,
        change.event_type.as_str(),
        caused.traceparent,
        &link.salt[..],
        &link.digest[..],
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// Notes once that a refund has been in doubt since before that time, with its audit row and an event, from which the customer is
/// told.
pub(super) async fn note_delay(
    conn: &mut PgConnection,
    id: Uuid,
    since: DateTime<Utc>,
    at: DateTime<Utc>,
    event_id: Uuid,
    caused: &Caused,
) -> sqlx::Result<()> {
    let link = caused.link(id, RefundStatus::InDoubt, None, at);
    sqlx::query!(
        r#"
        with delayed as (
            update command.refunds as refund set version = version + 1, delayed_at = $3, updated_at = $3
            where id = $1 and status = 'IN_DOUBT' and in_doubt_since <= $2 and delayed_at is null
            returning refund
        )
        select command.append_transitions(array_agg(row(
                   'refund', (refund).id, (refund).version, 'IN_DOUBT', 'IN_DOUBT', 'system', 'SYSTEM', 'BACKGROUND_JOB', null::text,
                   $4::jsonb, null::inet, $5::text, $6::text, $3, $10::bytea, $11::bytea)::command.new_transition)),
               messaging.append_events('refund', array_agg($7::uuid), array_agg((refund).id), array_agg((refund).version),
                   array_agg($8::text), array_agg(command.refund_document(refund)), array_agg($9::text), array_agg($3))
        from delayed
        "#,
        id,
        since,
        at,
        caused.metadata,
        caused.request_id,
        caused.trace_id,
        event_id,
        EventType::RefundDelayed.as_str(),
        caused.traceparent,
        &link.salt[..],
        &link.digest[..],
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}
