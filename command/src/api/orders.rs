//! Order commands.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use contracts::{OrderDocument, OrderState};
use runtime::ApiError;
use runtime::http::{ApiJson, RequestContext};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{ChangeOrderState, Checks, Pay, PlaceOrder, Ship, Step};
use super::{Answer, CommandErrors};
use crate::App;
use crate::placing::place;
use crate::transitions::{Request, change_order};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(place_order))
        .routes(routes!(pay))
        .routes(routes!(processing))
        .routes(routes!(ship))
        .routes(routes!(deliver))
        .routes(routes!(cancel))
        .routes(routes!(change_state))
}

/// Place an order
///
/// The order starts in `PENDING_PAYMENT`. Amounts are minor units (paise). A repeated request with the same
/// `Idempotency-Key` gets the first answer and places nothing.
#[utoipa::path(post, path = "/orders", tag = "Orders: commands", request_body = PlaceOrder,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; kept for IDEMPOTENCY_RETENTION_HOURS")),
    responses((status = 201, body = OrderDocument), CommandErrors))]
async fn place_order(
    State(app): State<App>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<PlaceOrder>,
) -> Result<Answer, ApiError> {
    place(&app, context, &headers, body).await
}

/// Pay
///
/// `PENDING_PAYMENT` → `PAID`. Paying a paid order again changes nothing and answers 200.
#[utoipa::path(post, path = "/orders/{id}/pay", tag = "Orders: commands", request_body = Pay,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn pay(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Pay>,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    checks.optional("payment_transaction_id", body.payment_transaction_id.as_ref(), 128);
    checks.done()?;
    let request = Request::new(&id, context, &headers, "pay", &body)?;
    let data = json!({ "payment_transaction_id": body.payment_transaction_id });
    change_order(&app, request, OrderState::Paid, data, body.reason, body.actor).await
}

/// Send to the warehouse
///
/// `PAID` → `PROCESSING_IN_WAREHOUSE`.
#[utoipa::path(post, path = "/orders/{id}/processing", tag = "Orders: commands", request_body = Step,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn processing(
    state: State<App>,
    id: Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    body: ApiJson<Step>,
) -> Result<Answer, ApiError> {
    step(state, id, context, headers, body, "processing", OrderState::ProcessingInWarehouse).await
}

/// Ship
///
/// `PROCESSING_IN_WAREHOUSE` → `SHIPPED`. Queues the invoice, which is mailed to the customer when it is ready.
#[utoipa::path(post, path = "/orders/{id}/ship", tag = "Orders: commands", request_body = Ship,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn ship(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Ship>,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    checks.optional("carrier", body.carrier.as_ref(), 64);
    checks.optional("tracking_number", body.tracking_number.as_ref(), 128);
    checks.done()?;
    let request = Request::new(&id, context, &headers, "ship", &body)?;
    let data = json!({ "carrier": body.carrier, "tracking_number": body.tracking_number });
    change_order(&app, request, OrderState::Shipped, data, body.reason, body.actor).await
}

/// Deliver
///
/// `SHIPPED` → `DELIVERED`. The return window opens.
#[utoipa::path(post, path = "/orders/{id}/deliver", tag = "Orders: commands", request_body = Step,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn deliver(
    state: State<App>,
    id: Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    body: ApiJson<Step>,
) -> Result<Answer, ApiError> {
    step(state, id, context, headers, body, "deliver", OrderState::Delivered).await
}

/// Cancel
///
/// `PENDING_PAYMENT` or `PAID` → `CANCELLED`.
#[utoipa::path(post, path = "/orders/{id}/cancel", tag = "Orders: commands", request_body = Step,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn cancel(
    state: State<App>,
    id: Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    body: ApiJson<Step>,
) -> Result<Answer, ApiError> {
    step(state, id, context, headers, body, "cancel", OrderState::Cancelled).await
}

/// Change an order's state
///
/// The general form of the commands above, for tools that know the target state.
#[utoipa::path(patch, path = "/orders/{id}/state", tag = "Orders: commands", request_body = ChangeOrderState,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = OrderDocument), CommandErrors))]
async fn change_state(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<ChangeOrderState>,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    checks.done()?;
    let request = Request::new(&id, context, &headers, "state", &body)?;
    change_order(&app, request, body.new_state, Value::Null, body.reason, body.actor).await
}

/// A transition that brings no data of its own.
async fn step(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Step>,
    verb: &str,
    to: OrderState,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    checks.done()?;
    let request = Request::new(&id, context, &headers, verb, &body)?;
    change_order(&app, request, to, Value::Null, body.reason, body.actor).await
}
