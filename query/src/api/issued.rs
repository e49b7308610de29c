//! `GET /invoices` and `/credit-notes`: the documents that were issued, and the look-up by number.

use std::sync::Arc;

use access::Caller;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use runtime::{ApiError, ErrorBody};

use super::Api;
use super::lists::{self, CreditNotePage, InvoicePage, IssuedFilters, IssuedListParams};

/// Invoices
///
/// Those whose PDF is stored, the newest first. `number` looks one up.
#[utoipa::path(
    get,
    path = "/invoices",
    tag = "Invoices and credit notes: queries",
    params(IssuedFilters, IssuedListParams, ("x-consistency-token" = Option<String>, Header, description = "See `consistency`.")),
    responses(
        (status = 200, description = "One page.", body = InvoicePage),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn list_invoices(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    lists::page(&api, &caller, &headers, &lists::INVOICES, lists::invoices(&uri)?).await
}

/// Credit notes
///
/// Those whose PDF is stored, the newest first. `number` looks one up.
#[utoipa::path(
    get,
    path = "/credit-notes",
    tag = "Invoices and credit notes: queries",
    params(IssuedFilters, IssuedListParams, ("x-consistency-token" = Option<String>, Header, description = "See `consistency`.")),
    responses(
        (status = 200, description = "One page.", body = CreditNotePage),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn list_credit_notes(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    lists::page(&api, &caller, &headers, &lists::CREDIT_NOTES, lists::credit_notes(&uri)?).await
}
