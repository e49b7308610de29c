//! The request for a return: one transaction under the order's lock.

use std::time::Instant;

use axum::http::StatusCode;
use contracts::{EntityType, OrderDocument, ReturnDocument, ReturnItemDocument, ReturnState};
use domain::{Charge, OrderForReturn, RequestedItem, ReturnLine, ReturnRefusal, ReturnableItem, decide_return};
use runtime::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::context::CommandContext;
use crate::document::{frozen, whole};
use crate::idempotency::key_in_progress;
use crate::outcome::{Outcome, locked, unknown_entity};
use crate::store::{self, NewReturn, OrderUnderLock};
use crate::taxation;

/// The command: take back these units of this order.
#[derive(Debug)]
pub(crate) struct RequestReturn {
    pub(crate) order_id: Uuid,
    pub(crate) items: Vec<ReturnItem>,
}

/// Units of one item.
#[derive(Debug)]
pub(crate) struct ReturnItem {
    pub(crate) order_item_id: Uuid,
    pub(crate) quantity: i64,
    pub(crate) reason: Option<String>,
}

/// Requests a return. The transaction runs in a task of its own, so a client that hangs up does not interrupt it.
///
/// # Errors
/// 404 for an unknown order, 400 for a return that is not allowed, 503 when another transaction holds the order for too
/// long.
pub(crate) async fn request(app: &App, context: CommandContext, command: RequestReturn) -> Result<Outcome, ApiError> {
    let in_flight = app.in_flight.enter(context.idempotency.as_ref())?;
    let deadline = Instant::now() + app.deadline;
    let work = Work { app: app.clone(), context, command, deadline };
    let outcome =
        runtime::database::in_transaction(&app.pool, |conn| Box::pin(async move { work.run(conn).await })).await;
    drop(in_flight);
    if outcome.as_ref().is_ok_and(|outcome| !outcome.replayed) {
        app.hint.send();
    }
    outcome
}

struct Work {
    app: App,
    context: CommandContext,
    command: RequestReturn,
    deadline: Instant,
}

impl Work {
    async fn run(self, conn: &mut PgConnection) -> Result<Outcome, ApiError> {
        let order_id = self.command.order_id;
        let at_most = self.deadline.saturating_duration_since(Instant::now());
        let order = store::lock_order(conn, order_id, at_most).await;
        let order = order.map_err(|error| held(&error, order_id).unwrap_or(error.into()))?;
        // Read under the lock: the transaction that held it before may have answered this very request.
        if let Some(request) = &self.context.idempotency
            && let Some(known) = store::known_answer(conn, request).await?
        {
            return Outcome::replayed(known, Some(request), EntityType::Return);
        }
        let Some(order) = order else { return Err(unknown_entity(EntityType::Order, order_id)) };
        let placed = OrderDocument::deserialize(&order.document).map_err(ApiError::internal)?;
        let lines = self.decide(conn, &order, &placed).await?;
        let document = self.document(&placed, &lines)?;
        self.insert(conn, &document).await
    }

    async fn decide(
        &self,
        conn: &mut PgConnection,
        order: &OrderUnderLock,
        placed: &OrderDocument,
    ) -> Result<Vec<ReturnLine>, ApiError> {
        let requested: Vec<_> = self
            .command
            .items
            .iter()
            .map(|item| RequestedItem { order_item_id: item.order_item_id, quantity: item.quantity })
            .collect();
        let ids: Vec<Uuid> = requested.iter().map(|item| item.order_item_id).collect();
        let elsewhere = store::items_elsewhere(conn, self.command.order_id, &ids).await?;
        let order = OrderForReturn {
            state: order.state.parse().map_err(ApiError::internal)?,
            delivered_at: order.delivered_at,
            existing_returns: order.returns.len(),
            items: returnable(placed, &order.returns)?,
        };
        decide_return(&order, &requested, &elsewhere, &self.app.policy, self.context.at)
            .map_err(|refusal| refused(&refusal))
    }

    fn document(&self, placed: &OrderDocument, lines: &[ReturnLine]) -> Result<ReturnDocument, ApiError> {
        let at = self.context.at;
        let item = |line: &ReturnLine| {
            let ordered = placed.items.iter().find(|item| item.id == line.order_item_id);
            let requested = self.command.items.iter().find(|item| item.order_item_id == line.order_item_id);
            let ordered = ordered.ok_or_else(|| ApiError::internal("an item is missing from the order's document"))?;
            Ok(ReturnItemDocument {
                id: self.app.ids.next(),
                order_item_id: line.order_item_id,
                sku: ordered.sku.clone(),
                title: ordered.title.clone(),
                quantity: i32::try_from(line.quantity).unwrap_or(i32::MAX),
                hsn: ordered.hsn.clone(),
                gst_rate: ordered.gst_rate,
                amount_minor: line.refund(),
                tax: ordered.tax.map(|_| taxation::tax(&line.goods)),
                shipping_minor: line.shipping.paid,
                shipping_tax: ordered
                    .shipping_tax
                    .filter(|_| line.shipping.paid > 0)
                    .map(|_| taxation::tax(&line.shipping)),
                reason: requested.and_then(|item| item.reason.clone()),
            })
        };
        Ok(ReturnDocument {
            id: self.app.ids.next(),
            order_id: placed.id,
            order_number: placed.order_number.clone(),
            state: ReturnState::Requested,
            version: 1,
            customer_id: placed.customer_id.clone(),
            customer_email: placed.customer_email.clone(),
            currency: placed.currency.clone(),
            reason: self.context.reason.clone(),
            items: lines.iter().map(item).collect::<Result<_, ApiError>>()?,
            refund_amount_minor: lines.iter().map(ReturnLine::refund).sum(),
            approval_notes: None,
            rejection_category: None,
            rejection_reason: None,
            carrier: None,
            tracking_number: None,
            created_at: at,
            updated_at: at,
            approved_at: None,
            rejected_at: None,
            in_transit_at: None,
            received_at: None,
            completed_at: None,
            refund: None,
            credit_note: None,
        })
    }

    async fn insert(&self, conn: &mut PgConnection, document: &ReturnDocument) -> Result<Outcome, ApiError> {
        let (frozen, progress) = (frozen(document)?, json!({ "updated_at": self.context.at }));
        let new = NewReturn {
            id: document.id,
            order_id: document.order_id,
            refund_amount_minor: document.refund_amount_minor,
            document: &frozen,
            progress: &progress,
            items: &document.items,
            audit: &self.context.audit_row(json!({})),
            event_id: self.app.ids.next(),
            traceparent: self.context.traceparent.as_deref(),
            at: self.context.at,
            idempotency: self.context.idempotency.as_ref(),
        };
        let stored = store::insert_return(conn, &new).await;
        let progress = stored.map_err(|error| key_taken(&error).unwrap_or(error.into()))?;
        let answer = whole(&frozen, &progress, document.state.as_str(), document.version);
        Ok(Outcome::created(EntityType::Return, document.id, answer))
    }
}

/// The items of the order, with what the earlier returns have taken of them.
fn returnable(placed: &OrderDocument, returns: &[Value]) -> Result<Vec<ReturnableItem>, ApiError> {
    let unsigned = |quantity: i32| u32::try_from(quantity).map_err(ApiError::internal);
    let mut items = Vec::with_capacity(placed.items.len());
    for item in &placed.items {
        items.push(ReturnableItem {
            id: item.id,
            quantity: unsigned(item.quantity)?,
            goods: taxation::charge(item.paid_minor, item.tax.as_ref()),
            shipping: taxation::charge(item.shipping_minor, item.shipping_tax.as_ref()),
            returned_quantity: 0,
            returned_goods: Charge::default(),
            returned_shipping: Charge::default(),
        });
    }
    for document in returns {
        let returned = ReturnDocument::deserialize(document).map_err(ApiError::internal)?;
        for line in returned.items {
            let Some(item) = items.iter_mut().find(|item| item.id == line.order_item_id) else { continue };
            let goods = taxation::charge(line.amount_minor - line.shipping_minor, line.tax.as_ref());
            let shipping = taxation::charge(line.shipping_minor, line.shipping_tax.as_ref());
            item.returned_quantity += unsigned(line.quantity)?;
            item.returned_goods = item.returned_goods.plus(&goods);
            item.returned_shipping = item.returned_shipping.plus(&shipping);
        }
    }
    Ok(items)
}

/// The order was locked until the deadline (SQLSTATE 55P03).
fn held(error: &sqlx::Error, order_id: Uuid) -> Option<ApiError> {
    let sqlstate = error.as_database_error()?.code()?;
    (sqlstate == "55P03").then(|| locked(EntityType::Order, order_id))
}

/// The key was used for another order in the same moment. The two requests lock different orders, so neither waited
/// for the other.
fn key_taken(error: &sqlx::Error) -> Option<ApiError> {
    let constraint = error.as_database_error()?.constraint()?;
    (constraint == "idempotency_keys_pkey").then(key_in_progress)
}

fn refused(refusal: &ReturnRefusal) -> ApiError {
    let mut details = json!({ "reason": refusal.reason() });
    let more: Value = match refusal {
        ReturnRefusal::NoItems | ReturnRefusal::ReturnAlreadyExists => json!({}),
        ReturnRefusal::OrderNotDelivered { state } => json!({ "current_state": state.as_str() }),
        ReturnRefusal::OutsideReturnWindow { delivered_on, last_day } => {
            json!({ "delivered_on": delivered_on, "last_day": last_day })
        }
        ReturnRefusal::UnknownItem { ids } | ReturnRefusal::ItemNotInOrder { ids } => json!({ "item_ids": ids }),
        ReturnRefusal::QuantityExceedsReturnable { items } => json!({
            "item_ids": items.iter().map(|item| item.id).collect::<Vec<_>>(),
            "items": items.iter().map(|item| json!({
                "order_item_id": item.id, "requested": item.requested, "returnable": item.returnable,
            })).collect::<Vec<_>>(),
        }),
    };
    if let (Some(details), Value::Object(more)) = (details.as_object_mut(), more) {
        details.extend(more);
    }
    ApiError::new(StatusCode::BAD_REQUEST, "RETURN_NOT_ALLOWED", refusal.to_string()).with_details(details)
}
