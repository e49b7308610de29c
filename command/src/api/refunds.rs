//! Refund commands.

use axum::extract::State;
use contracts::{EntityType, RefundDocument};
use runtime::ApiError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::CommandErrors;
use super::answer::Answer;
use super::bodies::{GiveBack, Step};
use super::incoming::{Incoming, StepHeaders};
use crate::{App, goodwill, refunds};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(give_back)).routes(routes!(retry_refund))
}

/// Give money back
///
/// Refunds a part of a paid order without a return, by amount or by item, each part with the tax at its own rate. After the shipment a
/// credit note follows; before it, the invoice shows the lower value. No more is given back than is left of what was paid: 409
/// `REFUND_EXCEEDS_PAID`. A repeated request with the same `Idempotency-Key` gets the first answer and gives nothing back again.
#[utoipa::path(post, path = "/orders/{id}/refunds", operation_id = "refund_order", tag = "Refunds: commands", request_body = GiveBack,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 201, body = RefundDocument), CommandErrors))]
async fn give_back(State(app): State<App>, incoming: Incoming<GiveBack>) -> Result<Answer, ApiError> {
    let (context, order_id, body) = incoming.parse(&app, "refunds", EntityType::Order)?;
    app.answer(goodwill::give_back(&app, &context, goodwill::GiveBack { order_id, what: body.into_what() }).await)
}

/// Retry a failed refund
///
/// `FAILED` → `PENDING`. The workers ask the gateway again, under the same key. It is refused with 409 `REFUND_EXCEEDS_PAID` when
/// the order's other refunds have taken what was paid. A refund in any other state stays as it is, and the answer is 200.
#[utoipa::path(post, path = "/refunds/{id}/retry", tag = "Refunds: commands", request_body = Step,
    params(("id" = uuid::Uuid, Path), StepHeaders),
    responses((status = 200, body = RefundDocument), CommandErrors))]
async fn retry_refund(State(app): State<App>, incoming: Incoming<Step>) -> Result<Answer, ApiError> {
    let (context, id, _body) = incoming.parse(&app, "retry", EntityType::Refund)?;
    app.answer(refunds::retry(&app, &context, id).await)
}
