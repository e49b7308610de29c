//! Order commands.

use axum::Json;
use axum::extract::State;
use contracts::{EntityType, OrderDocument, OrderNumber};
use domain::OrderState;
use runtime::ApiError;
use runtime::http::{ApiJson, ApiJsonSent};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::answer::Answer;
use super::bodies::{ChangeOrderState, CorrectOrder, Note, Pay, PlaceOrder, QuoteOrder, Register, Ship, Step};
use super::incoming::{Incoming, KeyHeader, StepHeaders};
use super::{CommandErrors, QuestionErrors};
use crate::context::{CommandContext, Sender};
use crate::correct;
use crate::quote::Quote;
use crate::{App, entries, place_order};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(quote_order))
        .routes(routes!(place_order))
        .routes(routes!(super::bulk::change_states))
        .routes(routes!(pay))
        .routes(routes!(processing))
        .routes(routes!(ship))
        .routes(routes!(deliver))
        .routes(routes!(cancel))
        .routes(routes!(correct))
        .routes(routes!(register))
        .routes(routes!(send_invoice))
        .routes(routes!(add_note))
        .routes(routes!(change_state))
}

/// Quote an order
///
/// What the order would cost, with the GST of each line. Nothing is written, and no number is taken.
#[utoipa::path(post, path = "/orders/quote", operation_id = "quote_order", tag = "Orders: commands", request_body = QuoteOrder,
    responses((status = 200, body = Quote), QuestionErrors))]
async fn quote_order(State(app): State<App>, ApiJson(body): ApiJson<QuoteOrder>) -> Result<Json<Quote>, ApiError> {
    let at = app.clock.now();
    let order = body.parse(&app.taxation, at)?;
    // It is never stored, so its id and its number are never seen.
    let number = OrderNumber::parse("QUOTE").map_err(ApiError::internal)?;
    Ok(Json(order.document(Uuid::nil(), number, &app.ids, at).into()))
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
#[utoipa::path(post, path = "/orders/{id}/pay", operation_id = "pay_order", tag = "Orders: commands", request_body = Pay,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn pay(State(app): State<App>, incoming: Incoming<Pay>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "pay", OrderState::Paid).await)
}

/// Send to the warehouse
///
/// `PAID` → `PROCESSING_IN_WAREHOUSE`.
#[utoipa::path(post, path = "/orders/{id}/processing", operation_id = "process_order", tag = "Orders: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn processing(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "processing", OrderState::ProcessingInWarehouse).await)
}

/// Ship
///
/// `PROCESSING_IN_WAREHOUSE` → `SHIPPED`. Queues the invoice, which is e-mailed to the customer when it is ready.
#[utoipa::path(post, path = "/orders/{id}/ship", operation_id = "ship_order", tag = "Orders: commands", request_body = Ship,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn ship(State(app): State<App>, incoming: Incoming<Ship>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "ship", OrderState::Shipped).await)
}

/// Deliver
///
/// `SHIPPED` → `DELIVERED`. The return window opens.
#[utoipa::path(post, path = "/orders/{id}/deliver", operation_id = "deliver_order", tag = "Orders: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn deliver(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "deliver", OrderState::Delivered).await)
}

/// Cancel
///
/// `PENDING_PAYMENT` or `PAID` → `CANCELLED`. What was paid is refunded in full.
#[utoipa::path(post, path = "/orders/{id}/cancel", operation_id = "cancel_order", tag = "Orders: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn cancel(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "cancel", OrderState::Cancelled).await)
}

/// Change an order
///
/// A merge patch (RFC 7396). Facts are corrected: the payment's id once the order is `PAID`, carrier and tracking number once it is
/// `SHIPPED`, the registration of the invoice once it was entered. E-mail address, metadata and tags change at any time, addresses until
/// the order is in the warehouse and only if the GST stays the same (409 `TAX_WOULD_CHANGE`). The state stays; the version, the history
/// and the events go on by one.
#[utoipa::path(patch, path = "/orders/{id}", operation_id = "update_order", tag = "Orders: commands", request_body = CorrectOrder,
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
#[utoipa::path(post, path = "/orders/{id}/e-invoice", operation_id = "register_order_e_invoice", tag = "Orders: commands", request_body = Register,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn register(State(app): State<App>, incoming: Incoming<Register>) -> Result<Answer, ApiError> {
    let (context, id, body) = incoming.parse(&app, "e-invoice", EntityType::Order)?;
    app.answer(correct::order(&app, &context, id, body.facts()).await)
}

/// Send the invoice again
///
/// E-mails the invoice, in its last edition, to the customer once more: to the address that the order has now. Each call sends one
/// e-mail, unless it repeats an `Idempotency-Key`. While an invoice waits for its registration it is not sent (409
/// `INVOICE_NOT_REGISTERED`). The version goes on by one.
#[utoipa::path(post, path = "/orders/{id}/invoice/send", operation_id = "send_order_invoice", tag = "Orders: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn send_invoice(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    let (context, id, _body) = incoming.parse(&app, "invoice/send", EntityType::Order)?;
    app.answer(entries::send_invoice(&app, &context, id).await)
}

/// Add a note
///
/// For the shop's own people: it is an entry of the order's history, with its author, and no customer sees it. The version goes on by one.
#[utoipa::path(post, path = "/orders/{id}/notes", operation_id = "add_order_note", tag = "Orders: commands", request_body = Note,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn add_note(State(app): State<App>, incoming: Incoming<Note>) -> Result<Answer, ApiError> {
    let (context, id, _body) = incoming.parse(&app, "notes", EntityType::Order)?;
    app.answer(entries::add_note(&app, &context, id).await)
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
