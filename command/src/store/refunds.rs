//! Refunds: a new one, and one that is to be paid after all. Both under the order's lock.

use contracts::{EntityType, EventType, RefundDocument, RefundKind, RefundStatus};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::idempotency_keys::KnownAnswer;
use crate::context::{AuditRow, CommandContext};
use crate::idempotency::KeyedRequest;

/// Writes a refund with its audit row, outbox row, and stored answer if it is an answer.
pub(crate) async fn insert_refund(
    conn: &mut PgConnection,
    refund: &RefundDocument,
    event_id: Uuid,
    context: &CommandContext,
    idempotency: Option<&KeyedRequest>,
) -> sqlx::Result<()> {
    let event_type =
        if refund.kind == RefundKind::Goodwill { EventType::RefundGranted } else { EventType::RefundInitiated };
    let audit = context.audit_row(serde_json::json!({ "amount_minor": refund.amount_minor }));
    let link = audit.link(EntityType::Refund, refund.id, RefundStatus::Pending.as_str(), refund.created_at);
    sqlx::query!(
        r#"
        with inserted as (
            insert into command.refunds as refund
                (id, order_id, return_id, kind, status, version, amount_minor, currency, document, created_at, updated_at)
            values ($1, $2, $3, $4, 'PENDING', 1, $5, $6, $7::jsonb - array['status', 'version', 'updated_at'], $8, $8)
            returning refund
        ), remembered as (
            insert into command.idempotency_keys
                (caller, route, key, request_hash, entity_type, entity_id, status, state, version, progress, created_at)
            select $20, $21, $22, $23, 'refund', $1, 201, 'PENDING', 1, '{}', $8 where $22::text is not null
        )
        select command.append_transitions(array_agg(row(
                   'refund', $1, 1, null, 'PENDING', $9::text, $10::text, $11::text, $12::text, $13::jsonb, $14::text::inet,
                   $15::text, $16::text, $8, $24::bytea, $25::bytea)::command.new_transition)),
               messaging.append_events('refund', array[$17::uuid], array[$1], array[1], array[$18::text],
                   array_agg(command.refund_document(refund)), array[$19::text], array[$8])
        from inserted
        "#,
        refund.id,
        refund.order_id,
        refund.return_id,
        refund.kind.as_str(),
        refund.amount_minor,
        refund.currency,
        Json(refund) as _,
        refund.created_at,
        audit.actor,
        audit.actor_type.as_str(),
        audit.trigger.as_str(),
        audit.reason,
        audit.metadata,
        audit.ip_address,
        audit.request_id,
        audit.trace_id,
        event_id,
        event_type.as_str(),
        context.traceparent,
        idempotency.map(|request| request.caller.as_str()),
        idempotency.map(|request| request.route.as_str()),
        idempotency.map(|request| request.key.as_str()),
        idempotency.map(|request| request.request_hash.as_slice()),
        &link.salt[..],
        &link.digest[..],
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}

/// The stored answer to a request that made a refund: the refund as it was then.
pub(crate) async fn known_refund(conn: &mut PgConnection, request: &KeyedRequest) -> sqlx::Result<Option<KnownAnswer>> {
    sqlx::query_as!(
        KnownAnswer,
        r#"
        select request_hash, answer.status, answer.version, entity_id,
               (document || jsonb_build_object('status', state, 'version', answer.version, 'updated_at', document -> 'created_at'))::text
                   as "body!"
        from command.idempotency_keys as answer join command.refunds on refunds.id = entity_id
        where caller = $1 and route = $2 and key = $3
        "#,
        request.caller,
        request.route,
        request.key.as_str(),
    )
    .fetch_optional(conn)
    .await
}

/// A refund as clients see it.
pub(crate) async fn refund(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<RefundDocument>> {
    let document = sqlx::query_scalar!(
        r#"select command.refund_document(refund) as "document!: Json<RefundDocument>" from command.refunds as refund where id = $1"#,
        id,
    );
    Ok(document.fetch_optional(conn).await?.map(|document| document.0))
}

/// Makes a FAILED refund PENDING again, with its audit row and outbox row. `None` when it is not FAILED by now.
pub(crate) async fn retry_refund(
    conn: &mut PgConnection,
    id: Uuid,
    event_id: Uuid,
    context: &CommandContext,
) -> sqlx::Result<Option<RefundDocument>> {
    let audit = context.audit_row(serde_json::json!({}));
    let link = audit.link(EntityType::Refund, id, RefundStatus::Pending.as_str(), context.at);
    let AuditRow { actor, actor_type, trigger, reason, metadata, ip_address, request_id, trace_id } = audit;
    let retried = sqlx::query!(
        r#"
        with retried as (
            update command.refunds as refund
            set status = 'PENDING', version = version + 1, failure = null, updated_at = $2
            where id = $1 and status = 'FAILED'
            returning refund
        )
        select command.append_transitions(array_agg(row(
                   'refund', $1, (refund).version, 'FAILED', 'PENDING', $3::text, $4::text, $5::text, $6::text, $7::jsonb,
                   $8::text::inet, $9::text, $10::text, $2, $14::bytea, $15::bytea)::command.new_transition)),
               messaging.append_events('refund', array[$11::uuid], array[$1], array[(refund).version], array[$12::text],
                   array[command.refund_document(refund)], array[$13::text], array[$2]),
               command.refund_document(refund) as "document!: Json<RefundDocument>"
        from retried group by refund
        "#,
        id,
        context.at,
        actor,
        actor_type.as_str(),
        trigger.as_str(),
        reason,
        metadata,
        ip_address,
        request_id,
        trace_id,
        event_id,
        EventType::RefundRetried.as_str(),
        context.traceparent,
        &link.salt[..],
        &link.digest[..],
    )
    .fetch_optional(conn)
    .await?;
    Ok(retried.map(|row| row.document.0))
}
