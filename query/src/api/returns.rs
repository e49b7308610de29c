//! `GET /returns`, `/returns/{id}`, `/returns/{id}/history`.

use std::sync::Arc;

use access::Caller;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use contracts::{EntityType, ReturnDocument};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};

use super::consistency::Scope;
use super::documents::{self, History};
use super::lists::{self, ListParams, ReturnFilters, ReturnPage};
use super::{Api, ConsistencyParam, ReadParams, ReturnId, store};

/// Returns
///
/// Newest first, unless `sort` says otherwise. An entry that does not change while its list is read page by page is seen once.
#[utoipa::path(
    get,
    path = "/returns",
    tag = "Returns: queries",
    params(ReturnFilters, ListParams, ("x-consistency-token" = Option<String>, Header, description = "See `consistency`.")),
    responses(
        (status = 200, description = "One page.", body = ReturnPage),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn list_returns(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    lists::page(&api, &caller, &headers, &lists::RETURNS, lists::returns(&uri)?).await
}

/// One return
///
/// With its refund and its credit note, and what may be done with it next.
#[utoipa::path(
    get,
    path = "/returns/{id}",
    tag = "Returns: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ReadParams,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier response."),
    ),
    responses(
        (
            status = 200,
            description = "The return.",
            body = ReturnDocument,
            headers(("etag" = String, description = "`\"<version>\"`, with a refund or a credit note `\"<version>.<sum of their versions>\"`")),
        ),
        (status = 304, description = "Unchanged."),
        (status = 403, description = "`FORBIDDEN`: customers see no history", body = ErrorBody),
        (status = 404, description = "`RETURN_NOT_FOUND`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_return(
    State(api): State<Arc<Api>>,
    id: ReturnId,
    caller: Caller,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReadParams>,
) -> Result<Response, ApiError> {
    let history = params.history(&api, &caller, &headers, EntityType::Return, id.0).await?;
    let found = api.returns.get(id.0, caller.owner()).await?.ok_or_else(|| id.not_found())?;
    let etag = documents::etag(found.version, found.inner_version, false);
    let mut document = api.shown(&caller).returned(found);
    if let Some(history) = history {
        document = documents::with_history(document, &history);
    }
    Ok(documents::respond(document, etag, &headers))
}

/// All state changes of a return, oldest first.
#[utoipa::path(
    get,
    path = "/returns/{id}/history",
    tag = "Returns: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
    ),
    responses(
        (status = 200, description = "The history.", body = History),
        (status = 404, description = "`RETURN_NOT_FOUND`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_return_history(
    State(api): State<Arc<Api>>,
    id: ReturnId,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::History).await?;
    let entries = store::history(&api.read, EntityType::Return, id.0).await?;
    documents::history(&entries).ok_or_else(|| id.not_found())
}
