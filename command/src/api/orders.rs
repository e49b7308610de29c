//! Order commands.

use axum::extract::State;
use contracts::{EntityType, OrderDocument};
use domain::OrderState;
use runtime::ApiError;
use runtime::http::ApiJsonSent;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::CommandErrors;
use super::answer::Answer;
use super::bodies::{ChangeOrderState, CorrectOrder, Pay, PlaceOrder, Register, Ship, Step};
use super::incoming::{Incoming, KeyHeader, StepHeaders};
use crate::context::{CommandContext, Sender};
use crate::correct;
use crate::{App, place_order};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(place_order))
        .routes(routes!(pay))
        .routes(routes!(processing))
        .routes(routes!(ship))
        .routes(routes!(deliver))
        .routes(routes!(cancel))
        .routes(routes!(correct))
        .routes(routes!(register))
        .routes(routes!(change_state))
}

/// Place an order
///
/// The order starts in `PENDING_PAYMENT`. Amounts are minor units (paise). A repeated request with the same
/// `Idempotency-Key` gets the first answer and places no second order.
#[utoipa::path(post, path = "/orders", tag = "Orders: commands", request_body = PlaceOrder,
    params(KeyHeader),
    responses((status = 201, body = OrderDocument), CommandErrors))]
async fn place_order(
    State(app): State<App>,
    sender: Sender,
    ApiJsonSent { body, sent }: ApiJsonSent<PlaceOrder>,
) -> Result<Answer, ApiError> {
    let at = app.clock.now();
    let context = CommandContext::of_request(sender, "orders", &body, &sent, at);
    // An invalid body is reported before an invalid header.
    let order = body.parse(&app.taxation, at)?;
    let context = context?.moving_money(app.requires_key)?;
    app.answer(place_order::place(&app, &context, order).await)
}

/// Pay
///
/// `PENDING_PAYMENT` → `PAID`. Paying a paid order again with the same payment, or with none, changes nothing and answers 200; with
/// another payment it answers 409 `CONFLICTING_FACT`, which names both.
#[utoipa::path(post, path = "/orders/{id}/pay", tag = "Orders: commands", request_body = Pay,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn pay(State(app): State<App>, incoming: Incoming<Pay>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "pay", OrderState::Paid).await)
}

/// Send to the warehouse
///
/// `PAID` → `PROCESSING_IN_WAREHOUSE`.
#[utoipa::path(post, path = "/orders/{id}/processing", tag = "Orders: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn processing(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "processing", OrderState::ProcessingInWarehouse).await)
}

/// Ship
///
/// `PROCESSING_IN_WAREHOUSE` → `SHIPPED`. Queues the invoice, which is e-mailed to the customer when it is ready.
#[utoipa::path(post, path = "/orders/{id}/ship", tag = "Orders: commands", request_body = Ship,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn ship(State(app): State<App>, incoming: Incoming<Ship>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "ship", OrderState::Shipped).await)
}

/// Deliver
///
/// `SHIPPED` → `DELIVERED`. The return window opens.
#[utoipa::path(post, path = "/orders/{id}/deliver", tag = "Orders: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn deliver(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "deliver", OrderState::Delivered).await)
}

/// Cancel
///
/// `PENDING_PAYMENT` or `PAID` → `CANCELLED`. What was paid is refunded in full.
#[utoipa::path(post, path = "/orders/{id}/cancel", tag = "Orders: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn cancel(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "cancel", OrderState::Cancelled).await)
}

/// Correct facts
///
/// The payment's id once the order is `PAID`, carrier and tracking number once it is `SHIPPED`, the registration of the invoice once
/// it was entered. The state stays; the version, the
/// history and the events go on by one.
#[utoipa::path(patch, path = "/orders/{id}", operation_id = "correct_order", tag = "Orders: commands", request_body = CorrectOrder,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn correct(State(app): State<App>, incoming: Incoming<CorrectOrder>) -> Result<Answer, ApiError> {
    let (context, id, body) = incoming.parse(&app, "correct", EntityType::Order)?;
    app.answer(correct::order(&app, &context, id, body.facts()).await)
}

/// Enter the registration of the invoice
///
/// What the invoice registration portal answered to `GET /orders/{id}/e-invoice.json`. The IRN and the signed QR code are printed in
/// another edition of the invoice, under the same number, and the customer gets it by e-mail; earlier editions are kept. An answer to
/// another document is refused. Entering the same again changes nothing; `PATCH /orders/{id}` corrects it.
#[utoipa::path(post, path = "/orders/{id}/e-invoice", tag = "Orders: commands", request_body = Register,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn register(State(app): State<App>, incoming: Incoming<Register>) -> Result<Answer, ApiError> {
    let (context, id, body) = incoming.parse(&app, "e-invoice", EntityType::Order)?;
    app.answer(correct::order(&app, &context, id, body.facts()).await)
}

/// Change an order's state
///
/// The general form of the commands above, for clients that name the target state.
#[utoipa::path(patch, path = "/orders/{id}/state", operation_id = "change_order_state", tag = "Orders: commands", request_body = ChangeOrderState,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn change_state(State(app): State<App>, incoming: Incoming<ChangeOrderState>) -> Result<Answer, ApiError> {
    let to = incoming.body.new_state;
    app.answer(incoming.change(&app, "state", to).await)
}
