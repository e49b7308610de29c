//! What becomes an entry of an order's history and an event, and leaves its document as it is: a note, and the request to send the
//! invoice once more. Both have an author and a time, cannot be changed, and are shown to no customer.

use axum::http::StatusCode;
use contracts::EventType;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::context::CommandContext;
use crate::correct;
use crate::order_books::OrderBooks;
use crate::outcome::Outcome;
use crate::store::{self, NewTransition, OrderOf};
use crate::under_lock::{UnderLock, stored, under_lock};

/// Adds the note that the context has as its reason.
///
/// # Errors
/// 404 for an unknown order, 412 for another version than the expected one.
pub(crate) async fn add_note(app: &App, context: &CommandContext, order_id: Uuid) -> Result<Outcome, ApiError> {
    let entry = Entry { app: app.clone(), context: context.clone(), order_id, what: What::Note };
    under_lock(app, context, OrderOf::Order(order_id), entry).await
}

/// Has the workers e-mail the invoice to the customer once more.
///
/// # Errors
/// 404 for an unknown order and one without an invoice, 409 for one without an e-mail address or whose invoice is to be registered
/// first, 412 for another version than the expected one.
pub(crate) async fn send_invoice(app: &App, context: &CommandContext, order_id: Uuid) -> Result<Outcome, ApiError> {
    let entry = Entry { app: app.clone(), context: context.clone(), order_id, what: What::Invoice };
    under_lock(app, context, OrderOf::Order(order_id), entry).await
}

#[derive(Debug, Clone, Copy)]
enum What {
    Note,
    Invoice,
}

struct Entry {
    app: App,
    context: CommandContext,
    order_id: Uuid,
    what: What,
}

impl UnderLock for Entry {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let (event_type, details) = match self.what {
                What::Note => (EventType::OrderUpdated, json!({ "note": true })),
                What::Invoice => (EventType::OrderInvoiceRequested, self.invoice(conn, &books).await?),
            };
            let Self { app, context, order_id, .. } = &self;
            let entry = NewTransition {
                id: *order_id,
                to_state: books.state.as_str(),
                at: context.at,
                progress: json!({ "updated_at": context.at }),
                audit: context.audit_row(details),
                event_id: app.ids.next(),
                event_type,
                traceparent: context.traceparent.clone(),
                expected_version: context.expected_version,
                idempotency: context.idempotency.clone(),
            };
            let outcome = store::correct_order(conn, entry, true).await.map_err(stored)?;
            correct::answer(context, contracts::EntityType::Order, *order_id, outcome)
        }
        .boxed()
    }
}

impl Entry {
    /// What the history says of the invoice that is sent.
    async fn invoice(&self, conn: &mut PgConnection, books: &OrderBooks) -> Result<Value, ApiError> {
        let Some(invoice) = store::invoice_number(conn, self.order_id).await? else {
            let message = "the order has no invoice yet: it is made when the order is shipped, and sent then";
            return Err(ApiError::not_found("INVOICE_NOT_FOUND", message));
        };
        if invoice.awaits_registration {
            let message = "the invoice is to be registered first, and is sent then, to the address that the order has had at its invoicing";
            return Err(ApiError::new(StatusCode::CONFLICT, "INVOICE_NOT_REGISTERED", message));
        }
        if books.order.customer_email.is_none() {
            let message = "the order has no e-mail address; PATCH /orders/{id} sets one";
            return Err(ApiError::new(StatusCode::CONFLICT, "NO_EMAIL_ADDRESS", message));
        }
        Ok(json!({ "invoice_number": invoice.number }))
    }
}
