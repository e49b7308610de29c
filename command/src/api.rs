//! REST: a body is parsed into a command, and its outcome becomes the answer.

mod orders;
mod returns;
mod refunds;
mod bulk;
mod bodies;
mod incoming;
mod answer;

use runtime::ErrorBody;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use crate::App;

#[derive(utoipa::OpenApi)]
#[openapi(tags(
    (name = "Orders: commands", description = "Place an order and take it through its states."),
    (name = "Returns: commands", description = "Request the return of items and take it to its refund."),
    (name = "Refunds: commands", description = "Have a failed refund paid after all."),
))]
struct Documented;

fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Documented::openapi())
        .nest("/api/v1", orders::routes().merge(returns::routes()).merge(refunds::routes()))
}

pub(crate) fn routes(app: App) -> axum::Router {
    router().with_state(app).split_for_parts().0
}

/// The description of the command endpoints.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}

/// The answers to a question that cannot be answered.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
enum QuestionErrors {
    /// Malformed JSON (`MALFORMED_JSON`).
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// `BODY_TOO_LARGE`.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// `UNSUPPORTED_MEDIA_TYPE`.
    #[response(status = 415)]
    MediaType(ErrorBody),
    /// `VALIDATION_FAILED` with the invalid fields.
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// `SERVICE_UNAVAILABLE`, `REQUEST_TIMEOUT`: try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

/// The answers to every command that is refused.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "read by utoipa only")]
enum CommandErrors {
    /// Malformed JSON (`MALFORMED_JSON`), a return that is not allowed (`RETURN_NOT_ALLOWED`), or with `REQUIRE_IDEMPOTENCY_KEY` a command
    /// that moves money without a key (`IDEMPOTENCY_KEY_REQUIRED`).
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// `ORDER_NOT_FOUND`, `RETURN_NOT_FOUND` or `REFUND_NOT_FOUND`.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// `INVALID_STATE_TRANSITION`, `CONFLICTING_FACT`, `FACT_NOT_RECORDED`, `FACT_IS_FINAL`, `TAX_WOULD_CHANGE`, `REFUND_EXCEEDS_PAID`,
    /// `ORDER_NUMBER_EXISTS` or `IDEMPOTENCY_KEY_IN_PROGRESS`. Nothing was written.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// `VERSION_MISMATCH`: the version in `If-Match` is not the current one.
    #[response(status = 412)]
    PreconditionFailed(ErrorBody),
    /// `BODY_TOO_LARGE`.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// `UNSUPPORTED_MEDIA_TYPE`.
    #[response(status = 415)]
    MediaType(ErrorBody),
    /// `VALIDATION_FAILED` with the invalid fields, or `IDEMPOTENCY_KEY_REUSED`.
    #[response(status = 422)]
    Invalid(ErrorBody),
    /// Try again; with an `Idempotency-Key` that is safe. Not executed: `TOO_MANY_COMMANDS` (the queue is full),
    /// `OUTBOX_FULL` (more than `OUTBOX_MAX_PENDING` events wait for the relay),
    /// `COMMAND_NOT_STARTED` (it waited for `COMMAND_DEADLINE_SECONDS`), `ORDER_LOCKED` or `RETURN_LOCKED` (another
    /// transaction held it for that long). Executed or not: `SERVICE_UNAVAILABLE`, `REQUEST_TIMEOUT`.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}
