//! `GET /refunds`, `/refunds/{id}`, `/refunds/{id}/history`.

use std::sync::Arc;

use access::Caller;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use contracts::{EntityType, RefundDocument};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};

use super::consistency::Scope;
use super::documents::{self, History};
use super::lists::{self, ListParams, RefundFilters, RefundPage};
use super::{Api, ConsistencyParam, RefundId, store};

/// Refunds
///
/// Newest first, unless `sort` says otherwise. An entry that does not change while its list is read page by page is seen once.
#[utoipa::path(
    get,
    path = "/refunds",
    tag = "Refunds: queries",
    params(RefundFilters, ListParams, ("x-consistency-token" = Option<String>, Header, description = "See `consistency`.")),
    responses(
        (status = 200, description = "One page.", body = RefundPage),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn list_refunds(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    lists::page(&api, &caller, &headers, &lists::REFUNDS, lists::refunds(&uri)?).await
}

/// One refund.
#[utoipa::path(
    get,
    path = "/refunds/{id}",
    tag = "Refunds: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier response."),
    ),
    responses(
        (
            status = 200,
            description = "The refund.",
            body = RefundDocument,
            headers(("etag" = String, description = "`\"<version>\"`")),
        ),
        (status = 304, description = "Unchanged."),
        (status = 404, description = "`REFUND_NOT_FOUND`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_refund(
    State(api): State<Arc<Api>>,
    id: RefundId,
    caller: Caller,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let found = api.refunds.get(id.0, caller.owner()).await?.ok_or_else(|| id.not_found())?;
    let etag = documents::etag(found.version, found.inner_version, false);
    let document = documents::with_members(found.document, found.inner.as_deref());
    Ok(documents::respond(document, etag, &headers))
}

/// All state changes of a refund, oldest first.
#[utoipa::path(
    get,
    path = "/refunds/{id}/history",
    tag = "Refunds: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
    ),
    responses(
        (status = 200, description = "The history.", body = History),
        (status = 404, description = "`REFUND_NOT_FOUND`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_refund_history(
    State(api): State<Arc<Api>>,
    id: RefundId,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::History).await?;
    let entries = store::history(&api.read, EntityType::Refund, id.0).await?;
    documents::history(&entries).ok_or_else(|| id.not_found())
}
