//! Return commands.

use access::Caller;
use axum::Json;
use axum::extract::State;
use contracts::{EntityType, ReturnDocument};
use domain::ReturnState;
use runtime::http::{ApiJson, ApiJsonSent};
use runtime::{ApiError, ErrorBody};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::bodies::{
    Approve, ChangeReturnState, Complete, CorrectReturn, PreviewReturn, Receive, Reject, RequestReturn, Ship, StepBody,
    Withdraw,
};
use super::incoming::{Incoming, KeyHeader, StepHeaders};
use super::{CommandErrors, QuestionErrors};
use crate::context::{CommandContext, Sender};
use crate::correct::{self, Facts};
use crate::preview_return::ReturnPreview;
use crate::transition::Details;
use crate::{App, preview_return, request_return};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(preview_return))
        .routes(routes!(request_return))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(in_transit))
        .routes(routes!(withdraw))
        .routes(routes!(received))
        .routes(routes!(correct))
        .routes(routes!(complete))
        .routes(routes!(change_state))
}

/// Preview a return
///
/// Whether the return may be requested, until when, and what it would refund. Nothing is written. A return that may not be requested
/// is 200 with `eligible: false` and the reason.
#[utoipa::path(post, path = "/returns/preview", operation_id = "preview_return", tag = "Returns: commands", request_body = PreviewReturn,
    responses((status = 200, body = ReturnPreview), QuestionErrors, (status = 404, description = "`ORDER_NOT_FOUND`", body = ErrorBody)))]
async fn preview_return(
    State(app): State<App>,
    caller: Caller,
    ApiJson(body): ApiJson<PreviewReturn>,
) -> Result<Json<ReturnPreview>, ApiError> {
    let question = body.parse()?;
    preview_return::preview(&app, caller.owner(), question).await.map(Json)
}

/// Request a return
///
/// Returns some units of some items of a delivered order. A refusal is 400 `RETURN_NOT_ALLOWED` with `details.reason`, one
/// of `ORDER_NOT_DELIVERED`, `OUTSIDE_RETURN_WINDOW`, `NO_ITEMS`, `UNKNOWN_ITEM`, `ITEM_NOT_IN_ORDER`,
/// `QUANTITY_EXCEEDS_RETURNABLE`, `RETURN_ALREADY_EXISTS`.
#[utoipa::path(post, path = "/returns", tag = "Returns: commands", request_body = RequestReturn,
    params(KeyHeader),
    responses((status = 201, body = ReturnDocument), CommandErrors))]
async fn request_return(
    State(app): State<App>,
    sender: Sender,
    ApiJsonSent { body, sent }: ApiJsonSent<RequestReturn>,
) -> Result<Answer, ApiError> {
    let context = CommandContext::of_request(sender, "returns", &body, &sent, app.clock.now());
    // An invalid body is reported before an invalid header.
    let command = body.parse()?;
    app.answer(request_return::request(&app, context?, command).await)
}

/// Approve
///
/// `REQUESTED` → `APPROVED`, with the manager's notes.
#[utoipa::path(post, path = "/returns/{id}/approve", operation_id = "approve_return", tag = "Returns: commands", request_body = Approve,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn approve(State(app): State<App>, incoming: Incoming<Approve>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "approve", ReturnState::Approved).await)
}

/// Reject
///
/// `REQUESTED` → `REJECTED`, with a category and a reason. The units can be requested again.
#[utoipa::path(post, path = "/returns/{id}/reject", operation_id = "reject_return", tag = "Returns: commands", request_body = Reject,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn reject(State(app): State<App>, incoming: Incoming<Reject>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "reject", ReturnState::Rejected).await)
}

/// On its way back
///
/// `APPROVED` → `IN_TRANSIT`.
#[utoipa::path(post, path = "/returns/{id}/in-transit", operation_id = "send_return", tag = "Returns: commands", request_body = Ship,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn in_transit(State(app): State<App>, incoming: Incoming<Ship>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "in-transit", ReturnState::InTransit).await)
}

/// Withdraw
///
/// `REQUESTED` → `REJECTED`, with the category `WITHDRAWN`. The units can be requested again.
#[utoipa::path(post, path = "/returns/{id}/withdraw", operation_id = "withdraw_return", tag = "Returns: commands", request_body = Withdraw,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn withdraw(State(app): State<App>, incoming: Incoming<Withdraw>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "withdraw", ReturnState::Rejected).await)
}

/// Received
///
/// `IN_TRANSIT` → `RECEIVED`. The body may say by the unit what was accepted, rejected or missing; without it everything was
/// accepted. Only accepted units are refunded. Missing ones can be requested again, within `RETURN_WINDOW_DAYS` of the receipt.
#[utoipa::path(post, path = "/returns/{id}/received", operation_id = "receive_return", tag = "Returns: commands", request_body = Receive,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn received(State(app): State<App>, incoming: Incoming<Receive>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "received", ReturnState::Received).await)
}

/// Complete
///
/// `RECEIVED` → `COMPLETED`. Fixes what is refunded, and queues the refund of exactly the accepted units. Returns of the order that
/// are still open do not count. Fees may be kept back, at most the whole refund. A return with nothing accepted completes without a
/// refund.
#[utoipa::path(post, path = "/returns/{id}/complete", operation_id = "complete_return", tag = "Returns: commands", request_body = Complete,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn complete(State(app): State<App>, incoming: Incoming<Complete>) -> Result<Answer, ApiError> {
    app.answer(incoming.change(&app, "complete", ReturnState::Completed).await)
}

/// Correct facts
///
/// Carrier and tracking number once the return is `IN_TRANSIT`, the receipt while it is `RECEIVED`, and the fees until it is
/// `COMPLETED`. The state stays; the version, the history and the events go on by one.
#[utoipa::path(patch, path = "/returns/{id}", operation_id = "update_return", tag = "Returns: commands", request_body = CorrectReturn,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn correct(State(app): State<App>, incoming: Incoming<CorrectReturn>) -> Result<Answer, ApiError> {
    let (context, id, body) = incoming.parse(&app, "correct", EntityType::Return)?;
    let Details { carrier, tracking_number, receipt, fees, .. } = body.into_details();
    app.answer(
        correct::returned(&app, &context, id, Facts { carrier, tracking_number, receipt, fees, ..Facts::default() })
            .await,
    )
}

/// Change a return's state
///
/// The general form of the commands above, for clients that name the target state.
#[utoipa::path(patch, path = "/returns/{id}/state", operation_id = "change_return_state", tag = "Returns: commands", request_body = ChangeReturnState,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = ReturnDocument), CommandErrors))]
async fn change_state(State(app): State<App>, incoming: Incoming<ChangeReturnState>) -> Result<Answer, ApiError> {
    let to = incoming.body.new_state;
    app.answer(incoming.change(&app, "state", to).await)
}
