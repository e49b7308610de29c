//! Notes about an order. A note is a row of the order's audit, as its reason: it has an author and a time, cannot be changed, and
//! no customer sees it.

use contracts::EventType;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use serde_json::json;
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
pub(crate) async fn add(app: &App, context: &CommandContext, order_id: Uuid) -> Result<Outcome, ApiError> {
    let work = Work { app: app.clone(), context: context.clone(), order_id };
    under_lock(app, context, OrderOf::Order(order_id), work).await
}

struct Work {
    app: App,
    context: CommandContext,
    order_id: Uuid,
}

impl UnderLock for Work {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>> {
        async move {
            let Self { app, context, order_id } = &self;
            let note = NewTransition {
                id: *order_id,
                to_state: books.state.as_str(),
                at: context.at,
                progress: json!({ "updated_at": context.at }),
                audit: context.audit_row(json!({ "note": true })),
                event_id: app.ids.next(),
                event_type: EventType::OrderUpdated,
                traceparent: context.traceparent.clone(),
                expected_version: context.expected_version,
                idempotency: context.idempotency.clone(),
            };
            let outcome = store::correct_order(conn, note, true).await.map_err(stored)?;
            correct::answer(context, contracts::EntityType::Order, *order_id, outcome)
        }
        .boxed()
    }
}
