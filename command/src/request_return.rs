//! The request for a return.

use axum::http::StatusCode;
use contracts::{EntityType, OrderDocument, ReturnDocument, ReturnState};
use domain::{RequestedItem, ReturnLine, ReturnRefusal, decide_return};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::context::CommandContext;
use crate::document::{frozen, whole, with_items};
use crate::order_books::OrderBooks;
use crate::outcome::Outcome;
use crate::store::{self, NewReturn, OrderOf};
use crate::under_lock::{UnderLock, stored, under_lock};

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

/// Requests a return.
///
/// # Errors
/// 404 for an unknown order, 400 for a return that is not allowed, 503 when another transaction holds the order for too
/// long.
pub(crate) async fn request(app: &App, context: CommandContext, command: RequestReturn) -> Result<Outcome, ApiError> {
    let of = OrderOf::Order(command.order_id);
    let work = Work { app: app.clone(), context: context.clone(), command };
    under_lock(app, &context, of, work).await
}

struct Work {
    app: App,
    context: CommandContext,
    command: RequestReturn,
}

impl UnderLock for Work {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            // Read under the lock: the transaction that held it before may have answered this very request.
            if let Some(request) = &self.context.idempotency
                && let Some(known) = store::known_answer(&mut *conn, request).await?
            {
                return Outcome::replayed(known, Some(request), EntityType::Return);
            }
            let lines = self.decide(&mut *conn, &books).await?;
            let document = self.document(&books, &lines)?;
            self.insert(conn, &document).await
        }
        .boxed()
    }
}

impl Work {
    async fn decide(&self, conn: &mut PgConnection, books: &OrderBooks) -> Result<Vec<ReturnLine>, ApiError> {
        let requested: Vec<_> = self
            .command
            .items
            .iter()
            .map(|item| RequestedItem { order_item_id: item.order_item_id, quantity: item.quantity })
            .collect();
        let ids: Vec<Uuid> = requested.iter().map(|item| item.order_item_id).collect();
        let elsewhere = store::items_elsewhere(conn, self.command.order_id, &ids).await?;
        let policy = self.app.policy;
        decide_return(&books.for_return(policy)?, &requested, &elsewhere, &policy, self.context.at)
            .map_err(|refusal| refused(&refusal, &books.order))
    }

    fn document(&self, books: &OrderBooks, lines: &[ReturnLine]) -> Result<ReturnDocument, ApiError> {
        let (at, order) = (self.context.at, &books.order);
        let item = |line: &ReturnLine| {
            let requested = self.command.items.iter().find(|item| item.order_item_id == line.order_item_id);
            let mut item = books.item_of(line.order_item_id, self.app.ids.next())?;
            item.quantity = i32::try_from(line.quantity).map_err(ApiError::internal)?;
            item.reason = requested.and_then(|item| item.reason.clone());
            books.price(&mut item, line)?;
            Ok(item)
        };
        Ok(ReturnDocument {
            id: self.app.ids.next(),
            order_id: order.id,
            order_number: order.order_number.clone(),
            state: ReturnState::Requested,
            version: 1,
            customer_id: order.customer_id.clone(),
            customer_email: order.customer_email.clone(),
            currency: order.currency.clone(),
            reason: self.context.reason.clone(),
            items: lines.iter().map(item).collect::<Result<_, ApiError>>()?,
            fees: Vec::new(),
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
            allowed_actions: Vec::new(),
            history: Vec::new(),
        })
    }

    async fn insert(&self, conn: &mut PgConnection, document: &ReturnDocument) -> Result<Outcome, ApiError> {
        let items = serde_json::to_string(&document.items).map_err(ApiError::internal)?;
        let frozen = frozen(document, &["items", "refund_amount_minor"])?;
        let progress = json!({ "refund_amount_minor": document.refund_amount_minor, "updated_at": self.context.at });
        let new = NewReturn {
            id: document.id,
            order_id: document.order_id,
            document: &frozen,
            items: &items,
            progress: &progress,
            audit: &self.context.audit_row(json!({})),
            event_id: self.app.ids.next(),
            traceparent: self.context.traceparent.as_deref(),
            at: self.context.at,
            idempotency: self.context.idempotency.as_ref(),
        };
        let progress = store::insert_return(conn, &new).await.map_err(stored)?;
        let answer = whole(&with_items(&frozen, &items), &progress, document.state.as_str(), document.version);
        Ok(Outcome::created(EntityType::Return, document.id, answer))
    }
}

/// What a refusal says beside its reason.
pub(crate) fn refusal_details(refusal: &ReturnRefusal) -> Map<String, Value> {
    let details = match refusal {
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
    match details {
        Value::Object(details) => details,
        _ => Map::new(),
    }
}

/// A refusal in words for people: items have titles, and not ids.
pub(crate) fn refusal_message(refusal: &ReturnRefusal, order: &OrderDocument) -> String {
    order.items.iter().fold(refusal.to_string(), |message, item| {
        message.replace(&item.id.to_string(), &format!("“{}” ({})", item.title, item.sku.as_str()))
    })
}

fn refused(refusal: &ReturnRefusal, order: &OrderDocument) -> ApiError {
    let mut details = refusal_details(refusal);
    details.insert("reason".to_owned(), json!(refusal.reason()));
    let message = refusal_message(refusal, order);
    ApiError::new(StatusCode::BAD_REQUEST, "RETURN_NOT_ALLOWED", message).with_details(Value::Object(details))
}
