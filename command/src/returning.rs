//! The request for a return: one transaction under the order's lock.

use axum::http::{HeaderMap, StatusCode};
use contracts::{EntityType, OrderDocument, ReturnDocument, ReturnItemDocument, ReturnState};
use domain::{Charge, OrderForReturn, RequestedItem, ReturnLine, ReturnRefusal, ReturnableItem, decide_return};
use runtime::ApiError;
use runtime::http::RequestContext;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::api::body::{Checks, RequestReturn};
use crate::api::{Answer, not_found};
use crate::intent::{Conditions, IdempotencyKey, Origin, key_in_progress};
use crate::store::{self, NewReturn, OrderUnderLock};
use crate::taxing;

/// Requests a return. The transaction runs in a task of its own: a client that hangs up does not cut it in half.
pub(crate) async fn request(
    app: &App,
    context: RequestContext,
    headers: &HeaderMap,
    body: RequestReturn,
) -> Result<Answer, ApiError> {
    check(&body)?;
    let key = Conditions::read(headers, "returns", &context, &body)?.idempotency;
    let origin = Origin::new(context, body.actor.clone(), body.reason.clone(), app.clock.now());
    let guard = app.in_flight.enter(key.as_ref())?;
    let work = Work { app: app.clone(), origin, key, body };
    let answer =
        runtime::database::in_transaction(&app.pool, |conn| Box::pin(async move { work.run(conn).await })).await;
    drop(guard);
    if answer.as_ref().is_ok_and(|answer| !answer.replayed) {
        app.hint.send();
    }
    answer
}

fn check(body: &RequestReturn) -> Result<(), ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    if body.items.len() > domain::MAX_LINES {
        checks.wrong("items", format!("must be at most {} items", domain::MAX_LINES));
    }
    for (index, item) in body.items.iter().enumerate().take(domain::MAX_LINES) {
        if !(1..=domain::MAX_QUANTITY).contains(&item.quantity) {
            checks.wrong(format!("items[{index}].quantity"), format!("must be from 1 to {}", domain::MAX_QUANTITY));
        }
        checks.optional(&format!("items[{index}].reason"), item.reason.as_ref(), 1000);
    }
    checks.done()
}

struct Work {
    app: App,
    origin: Origin,
    key: Option<IdempotencyKey>,
    body: RequestReturn,
}

impl Work {
    async fn run(self, conn: &mut PgConnection) -> Result<Answer, ApiError> {
        let order_id = self.body.order_id;
        let order = store::lock_order(conn, order_id).await?;
        // Under the lock: whoever held it before us may have answered this very request.
        if let Some(key) = &self.key
            && let Some(known) = store::known_answer(conn, key).await?
        {
            return Answer::known(known, Some(key), EntityType::Return);
        }
        let Some(order) = order else {
            return Err(not_found(EntityType::Order, &order_id.to_string()));
        };
        // The frozen document says what the order was when it was placed; a return needs no more of it.
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
            .body
            .items
            .iter()
            .map(|item| RequestedItem { order_item_id: item.order_item_id, quantity: item.quantity })
            .collect();
        let ids: Vec<Uuid> = requested.iter().map(|item| item.order_item_id).collect();
        let elsewhere = store::items_elsewhere(conn, self.body.order_id, &ids).await?;
        let order = OrderForReturn {
            state: order.state.parse().map_err(ApiError::internal)?,
            delivered_at: order.delivered_at,
            existing_returns: order.returns.len(),
            items: returnable(placed, &order.returns)?,
        };
        decide_return(&order, &requested, &elsewhere, &self.app.policy, self.origin.at)
            .map_err(|refusal| refused(&refusal))
    }

    fn document(&self, placed: &OrderDocument, lines: &[ReturnLine]) -> Result<ReturnDocument, ApiError> {
        let at = self.origin.at;
        let item = |line: &ReturnLine| {
            let ordered = placed.items.iter().find(|item| item.id == line.order_item_id);
            let asked = self.body.items.iter().find(|item| item.order_item_id == line.order_item_id);
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
                tax: ordered.tax.map(|_| taxing::tax(&line.goods)),
                shipping_minor: line.shipping.paid,
                shipping_tax: ordered
                    .shipping_tax
                    .filter(|_| line.shipping.paid > 0)
                    .map(|_| taxing::tax(&line.shipping)),
                reason: asked.and_then(|item| item.reason.clone()),
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
            reason: self.body.reason.clone(),
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

    async fn insert(&self, conn: &mut PgConnection, document: &ReturnDocument) -> Result<Answer, ApiError> {
        let transition = self.origin.transition("return", document.id, document.state.as_str(), &json!({}));
        let new = NewReturn {
            id: document.id,
            order_id: document.order_id,
            refund_amount_minor: document.refund_amount_minor,
            document: &serde_json::to_value(document).map_err(ApiError::internal)?,
            items: &document.items,
            transition: &transition,
            event_id: self.app.ids.next(),
            headers: &self.origin.headers(),
            at: self.origin.at,
            idempotency: self.key.as_ref(),
        };
        let body = store::insert_return(conn, &new).await.map_err(|error| key_taken(&error).unwrap_or(error.into()))?;
        let (status, entity) = (StatusCode::CREATED, EntityType::Return);
        Ok(Answer { status, entity, id: document.id, version: 1, body, replayed: false })
    }
}

/// What was ordered, and what of it the returns before have taken.
fn returnable(placed: &OrderDocument, returns: &[Value]) -> Result<Vec<ReturnableItem>, ApiError> {
    let unsigned = |quantity: i32| u32::try_from(quantity).map_err(ApiError::internal);
    let mut items = Vec::with_capacity(placed.items.len());
    for item in &placed.items {
        items.push(ReturnableItem {
            id: item.id,
            quantity: unsigned(item.quantity)?,
            goods: taxing::charge(item.paid_minor, item.tax.as_ref()),
            shipping: taxing::charge(item.shipping_minor, item.shipping_tax.as_ref()),
            returned_quantity: 0,
            returned_goods: Charge::default(),
            returned_shipping: Charge::default(),
        });
    }
    for document in returns {
        let returned = ReturnDocument::deserialize(document).map_err(ApiError::internal)?;
        for line in returned.items {
            let Some(item) = items.iter_mut().find(|item| item.id == line.order_item_id) else { continue };
            let goods = taxing::charge(line.amount_minor - line.shipping_minor, line.tax.as_ref());
            let shipping = taxing::charge(line.shipping_minor, line.shipping_tax.as_ref());
            item.returned_quantity += unsigned(line.quantity)?;
            item.returned_goods = item.returned_goods.plus(&goods);
            item.returned_shipping = item.returned_shipping.plus(&shipping);
        }
    }
    Ok(items)
}

/// The key was used for another order in the same moment, where no lock makes the two wait for each other.
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
