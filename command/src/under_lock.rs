//! Commands that depend on what has been taken of an order: its returns and its refunds. Each is one transaction under the
//! order's lock, so that two of them cannot both take the last unit or the last paisa.

use std::time::Instant;

use contracts::EntityType;
use futures_util::future::BoxFuture;
use runtime::ApiError;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::App;
use crate::context::CommandContext;
use crate::idempotency::{key_in_progress, key_reused};
use crate::order_books::OrderBooks;
use crate::outcome::{Outcome, locked, unknown_entity};
use crate::store::{self, OrderOf};

/// What a command does under the lock.
pub(crate) trait UnderLock: Send + 'static {
    fn run(self, conn: &mut PgConnection, books: OrderBooks) -> BoxFuture<'_, Result<Outcome, ApiError>>;
}

/// Runs a command under the lock of the order that `of` names. The transaction runs in a task of its own, so a client that hangs
/// up does not interrupt it.
///
/// # Errors
/// 404 for an unknown order, return or refund, 503 when another transaction holds the order for too long.
pub(crate) async fn under_lock(
    app: &App,
    context: &CommandContext,
    of: OrderOf,
    work: impl UnderLock,
) -> Result<Outcome, ApiError> {
    let in_flight = app.in_flight.enter(context.idempotency.as_ref())?;
    let deadline = Instant::now() + app.deadline;
    let (owner, request, at) = (context.owner.clone(), context.idempotency.clone(), context.at);
    let outcome = runtime::database::in_transaction(&app.pool, move |conn| {
        Box::pin(async move {
            let at_most = deadline.saturating_duration_since(Instant::now());
            let order_id =
                store::order_of(&mut *conn, of, owner.as_deref(), at_most).await?.ok_or_else(|| unknown(of))?;
            let order = store::lock_order(&mut *conn, order_id, of).await;
            let order = order.map_err(|error| held(&error, order_id).unwrap_or(error.into()))?;
            let books = OrderBooks::read(order.ok_or_else(|| unknown(OrderOf::Order(order_id)))?)?;
            let outcome = work.run(&mut *conn, books).await?;
            if let (Some(request), Some(unchanged)) = (&request, outcome.to_remember())
                && !store::remember_unchanged(conn, request, &unchanged, at).await?
            {
                return Err(key_reused());
            }
            Ok(outcome)
        })
    })
    .await;
    drop(in_flight);
    if outcome.as_ref().is_ok_and(|outcome| !outcome.replayed) {
        app.hint.send();
    }
    outcome
}

fn unknown(of: OrderOf) -> ApiError {
    match of {
        OrderOf::Order(id) => unknown_entity(EntityType::Order, id),
        OrderOf::Return(id) => unknown_entity(EntityType::Return, id),
        OrderOf::Refund(id) => unknown_entity(EntityType::Refund, id),
    }
}

/// The order was locked until the deadline (SQLSTATE 55P03).
fn held(error: &sqlx::Error, order_id: Uuid) -> Option<ApiError> {
    let sqlstate = error.as_database_error()?.code()?;
    (sqlstate == "55P03").then(|| locked(EntityType::Order, order_id))
}

/// An error of a statement that stores the answer under the idempotency key. The key may have been used for another order in the
/// same moment: the two requests lock different orders, so neither waited for the other.
pub(crate) fn stored(error: sqlx::Error) -> ApiError {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    if constraint == Some("idempotency_keys_pkey") { key_in_progress() } else { error.into() }
}
