//! `GET /returns`, `/returns/{id}`, `/returns/{id}/history`.

use std::sync::Arc;

use access::Caller;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use contracts::{EntityType, ReturnDocument};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};

use super::consistency::Scope;
use super::documents::{self, History};
use super::lists::{self, ReturnListParams, ReturnPage};
use super::{Api, ConsistencyParam, ReturnId, store};

/// Returns, newest first.
#[utoipa::path(
    get,
    path = "/returns",
    tag = "Returns: queries",
    params(ReturnListParams, ("x-consistency-token" = Option<String>, Header, description = "See `consistency`.")),
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
    ApiQuery(params): ApiQuery<ReturnListParams>,
) -> Result<Response, ApiError> {
    let (mut filter, consistency) = params.parse()?;
    filter.owner = caller.owner().map(str::to_owned);
    api.wait_for(&headers, consistency.as_deref(), Scope::Documents).await?;
    lists::page(&api.read, &store::RETURNS, &filter).await
}

/// One return with all its details, its refund once that is initiated and its credit note once there is one.
#[utoipa::path(
    get,
    path = "/returns/{id}",
    tag = "Returns: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
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
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let found = api.returns.get(id.0, caller.owner()).await?.ok_or_else(|| id.not_found())?;
    Ok(documents::respond(found, &headers))
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
