//! Events for the projector, including those of workers, without running workers.

use anyhow::Result;
use chrono::{DateTime, Utc};
use contracts::audit::ChainLink;
use contracts::{
    ActorType, CustomerId, EntityType, EventType, InvoiceDocument, OrderNumber, OrderState, ReturnState, Series,
    StateChanged, Transition, Trigger,
};
use messaging::outbox::{self, NewEvent};
use runtime::{Clock, Ids};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use tests::{Database, System, shop};
use uuid::Uuid;

/// A database with the events of a few orders and returns in its outbox, none of them delivered.
pub(super) async fn told_events() -> Result<(Database, Vec<Uuid>)> {
    let system = System::commands_only().await?;
    let api = &system.api;
    for state in OrderState::ALL {
        let order = shop::order_in(api, state).await?;
        if matches!(state, OrderState::Shipped | OrderState::Delivered) {
            record_invoice(&system.database.pool, order.id, &order.order_number).await?;
        }
    }
    for state in ReturnState::ALL {
        let returned = shop::return_in(api, state).await?;
        if state == ReturnState::Completed {
            record_refund(&system.database.pool, returned.id).await?;
        }
    }
    let database = system.stop().await?;
    let events: Vec<Uuid> =
        sqlx::query_scalar("select event_id from messaging.outbox order by position").fetch_all(&database.pool).await?;
    assert!(events.len() > 60, "{}", events.len());
    Ok((database, events))
}

pub(crate) fn by_worker(
    entity_type: EntityType,
    entity_id: Uuid,
    version: i32,
    from: Option<&str>,
    to: &str,
    at: DateTime<Utc>,
) -> Transition {
    Transition {
        entity_type,
        entity_id,
        version,
        from_state: from.map(str::to_owned),
        to_state: to.to_owned(),
        actor: "system".to_owned(),
        actor_type: ActorType::System,
        trigger: Trigger::BackgroundJob,
        reason: None,
        metadata: json!({}),
        ip_address: None,
        request_id: None,
        trace_id: None,
        created_at: at,
    }
}

pub(crate) async fn record<T: Serialize>(pool: &PgPool, event_type: EventType, change: &StateChanged<T>) -> Result<()> {
    let event = NewEvent { event_id: Ids::system().next(), event_type, traceparent: None, change };
    outbox::record(&mut *pool.acquire().await?, &event).await?;
    Ok(())
}

/// Records an invoice as the workers do, without a browser.
async fn record_invoice(pool: &PgPool, order_id: Uuid, number: &OrderNumber) -> Result<()> {
    let (id, at) = (Ids::system().next(), Clock::system().now());
    let next = "insert into work.document_series as series values ('AC/26-27', 1)
                on conflict (series) do update set last_number = series.last_number + 1
                returning last_number";
    let n: i32 = sqlx::query_scalar(next).fetch_one(pool).await?;
    let invoice_number = Series::new("AC", "26-27")?.number(n.unsigned_abs())?;
    let snapshot = InvoiceDocument {
        id,
        order_id,
        order_number: number.clone(),
        invoice_number,
        customer_id: CustomerId::parse("cust-1")?,
        customer_email: None,
        currency: "INR".to_owned(),
        total_minor: 1,
        path: format!("invoice_{number}.pdf"),
        size_bytes: 1,
        sha256: "00".repeat(32),
        edition: 1,
        earlier_editions: Vec::new(),
        mailed_when_registered: false,
        e_invoice: None,
        issued_at: at,
        generated_at: at,
        carrier: None,
        tracking_number: None,
        erased: false,
        tax: None,
    };
    sqlx::query(
        "insert into work.invoices
             (id, order_id, invoice_number, issued_at, path, size_bytes, sha256, stored_at, order_document)
         values ($1, $2, $3, $4, $5, $6, $7, $4, '{}')",
    )
    .bind(id)
    .bind(order_id)
    .bind(&snapshot.invoice_number)
    .bind(at)
    .bind(&snapshot.path)
    .bind(snapshot.size_bytes)
    .bind(&snapshot.sha256)
    .execute(pool)
    .await?;
    let transition = by_worker(EntityType::Invoice, id, 1, None, "GENERATED", at);
    record(pool, EventType::InvoiceGenerated, &StateChanged { snapshot, transition }).await
}

/// Records the payment of a return's refund as the workers do, without a gateway.
async fn record_refund(pool: &PgPool, return_id: Uuid) -> Result<()> {
    let pay = "update command.refunds
               set status = 'PROCESSED', version = 2, transaction_id = 'txn_1', updated_at = now(), processed_at = now()
               where return_id = $1 returning id, updated_at";
    let (id, at): (Uuid, DateTime<Utc>) = sqlx::query_as(pay).bind(return_id).fetch_one(pool).await?;
    let transition = by_worker(EntityType::Refund, id, 2, Some("PENDING"), "PROCESSED", at);
    let link = ChainLink::of(&transition);
    let tell = "select command.append_transitions(array[row(
                           'refund', id, 2, 'PENDING', 'PROCESSED', $4, 'SYSTEM', 'BACKGROUND_JOB', null, $5, null, null, null,
                           updated_at, $6, $7)::command.new_transition]),
                       messaging.append_events('refund', array[$2], array[id], array[2], array[$3], array[command.refund_document(refund)],
                           array[null], array[updated_at])
                from command.refunds as refund where return_id = $1";
    sqlx::query(tell)
        .bind(return_id)
        .bind(Ids::system().next())
        .bind(EventType::RefundProcessed.as_str())
        .bind(&transition.actor)
        .bind(&transition.metadata)
        .bind(&link.salt[..])
        .bind(&link.digest[..])
        .execute(pool)
        .await?;
    Ok(())
}
