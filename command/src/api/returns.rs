//! Return commands.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use contracts::{ReturnDocument, ReturnState};
use runtime::ApiError;
use runtime::http::{ApiJson, RequestContext};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{Approve, ChangeReturnState, Checks, Reject, RequestReturn, Ship, Step};
use super::{Answer, CommandErrors};
use crate::App;
use crate::returning;
use crate::transitions::{Request, change_return};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(request_return))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(in_transit))
        .routes(routes!(received))
        .routes(routes!(complete))
        .routes(routes!(change_state))
}

/// Request a return
///
/// Some units of some items of a delivered order. A refusal is 400 `RETURN_NOT_ALLOWED` with `details.reason`, one
/// of `ORDER_NOT_DELIVERED`, `OUTSIDE_RETURN_WINDOW`, `NO_ITEMS`, `UNKNOWN_ITEM`, `ITEM_NOT_IN_ORDER`,
/// `QUANTITY_EXCEEDS_RETURNABLE`, `RETURN_ALREADY_EXISTS`.
#[utoipa::path(post, path = "/returns", tag = "Returns: commands", request_body = RequestReturn,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters; kept for IDEMPOTENCY_RETENTION_HOURS")),
    responses((status = 201, body = ReturnDocument), CommandErrors))]
async fn request_return(
    State(app): State<App>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<RequestReturn>,
) -> Result<Answer, ApiError> {
    returning::request(&app, context, &headers, body).await
}

/// Approve
///
/// `REQUESTED` → `APPROVED`, with the manager's notes.
#[utoipa::path(post, path = "/returns/{id}/approve", tag = "Returns: commands", request_body = Approve,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn approve(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Approve>,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    checks.optional("notes", body.notes.as_ref(), 1000);
    checks.done()?;
    let request = Request::new(&id, context, &headers, "approve", &body)?;
    change_return(&app, request, ReturnState::Approved, approval(body.notes.as_ref()), body.reason, body.actor).await
}

/// Reject
///
/// `REQUESTED` → `REJECTED`, with a category and a reason. The units can be requested again.
#[utoipa::path(post, path = "/returns/{id}/reject", tag = "Returns: commands", request_body = Reject,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn reject(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Reject>,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.text("category", body.category.as_deref().unwrap_or_default(), 64);
    checks.text("reason", body.reason.as_deref().unwrap_or_default(), 1000);
    checks.optional("actor", body.actor.as_ref(), 64);
    checks.done()?;
    let request = Request::new(&id, context, &headers, "reject", &body)?;
    let data = rejection(body.category.as_deref(), body.reason.as_ref());
    change_return(&app, request, ReturnState::Rejected, data, body.reason, body.actor).await
}

/// On its way back
///
/// `APPROVED` → `IN_TRANSIT`.
#[utoipa::path(post, path = "/returns/{id}/in-transit", tag = "Returns: commands", request_body = Ship,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn in_transit(
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
    let request = Request::new(&id, context, &headers, "in-transit", &body)?;
    let data = json!({ "carrier": body.carrier, "tracking_number": body.tracking_number });
    change_return(&app, request, ReturnState::InTransit, data, body.reason, body.actor).await
}

/// Received
///
/// `IN_TRANSIT` → `RECEIVED`.
#[utoipa::path(post, path = "/returns/{id}/received", tag = "Returns: commands", request_body = Step,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn received(
    state: State<App>,
    id: Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    body: ApiJson<Step>,
) -> Result<Answer, ApiError> {
    step(state, id, context, headers, body, "received", ReturnState::Received).await
}

/// Complete
///
/// `RECEIVED` → `COMPLETED`. Queues the refund of exactly the returned items.
#[utoipa::path(post, path = "/returns/{id}/complete", tag = "Returns: commands", request_body = Step,
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn complete(
    state: State<App>,
    id: Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    body: ApiJson<Step>,
) -> Result<Answer, ApiError> {
    step(state, id, context, headers, body, "complete", ReturnState::Completed).await
}

/// Change a return's state
///
/// The general form of the commands above, for tools that know the target state.
#[utoipa::path(patch, path = "/returns/{id}/state", tag = "Returns: commands", request_body = ChangeReturnState,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn change_state(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<ChangeReturnState>,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    checks.optional("category", body.category.as_ref(), 64);
    checks.optional("notes", body.notes.as_ref(), 1000);
    if body.new_state == ReturnState::Rejected && body.reason.is_none() {
        checks.wrong("reason", "is wanted for a rejection");
    }
    checks.done()?;
    let request = Request::new(&id, context, &headers, "state", &body)?;
    let data = match body.new_state {
        ReturnState::Approved => approval(body.notes.as_ref()),
        ReturnState::Rejected => rejection(body.category.as_deref().or(Some("OTHER")), body.reason.as_ref()),
        _ => Value::Null,
    };
    change_return(&app, request, body.new_state, data, body.reason, body.actor).await
}

fn approval(notes: Option<&String>) -> Value {
    json!({ "approval_notes": notes })
}

fn rejection(category: Option<&str>, reason: Option<&String>) -> Value {
    json!({ "rejection_category": category, "rejection_reason": reason })
}

/// A transition that brings no data of its own.
async fn step(
    State(app): State<App>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    ApiJson(body): ApiJson<Step>,
    verb: &str,
    to: ReturnState,
) -> Result<Answer, ApiError> {
    let mut checks = Checks::default();
    checks.step(body.reason.as_ref(), body.actor.as_ref());
    checks.done()?;
    let request = Request::new(&id, context, &headers, verb, &body)?;
    change_return(&app, request, to, Value::Null, body.reason, body.actor).await
}
