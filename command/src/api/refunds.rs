//! Refund commands.

use axum::extract::State;
use contracts::RefundDocument;
use runtime::ApiError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::CommandErrors;
use super::bodies::Step;
use super::incoming::Incoming;
use crate::outcome::Outcome;
use crate::{App, refunds};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(retry_refund))
}

/// Retry a failed refund
///
/// `FAILED` → `PENDING`. The workers ask the gateway again, under the same key. It is refused with 409 `REFUND_EXCEEDS_PAID` when
/// the order's other refunds have taken what was paid. A refund in any other state stays as it is, and the answer is 200.
#[utoipa::path(post, path = "/refunds/{id}/retry", tag = "Refunds: commands", request_body = Step,
    params(("id" = String, Path)),
    responses((status = 200, body = RefundDocument), CommandErrors))]
async fn retry_refund(State(app): State<App>, incoming: Incoming<Step>) -> Result<Outcome, ApiError> {
    let (context, id, _body) = incoming.parse(&app, "retry", contracts::EntityType::Refund)?;
    refunds::retry(&app, &context, id).await
}
