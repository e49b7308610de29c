//! `GET /orders`, `/orders/{id}`, `/orders/{id}/history`.

use std::sync::Arc;

use access::Caller;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use contracts::{EntityType, OrderDocument};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};

use super::consistency::Scope;
use super::documents::{self, History};
use super::lists::{self, ListParams, OrderFilters, OrderPage};
use super::{Api, ConsistencyParam, OrderId, ReadParams, store};

/// Orders
///
/// Newest first, unless `sort` says otherwise. An entry that does not change while its list is read page by page is seen once.
#[utoipa::path(
    get,
    path = "/orders",
    tag = "Orders: queries",
    params(OrderFilters, ListParams, ("x-consistency-token" = Option<String>, Header, description = "See `consistency`.")),
    responses(
        (status = 200, description = "One page.", body = OrderPage),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn list_orders(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    lists::page(&api, &caller, &headers, &lists::ORDERS, lists::orders(&uri)?).await
}

/// One order
///
/// With its invoice, refunds and returns, and what may be done with it next.
#[utoipa::path(
    get,
    path = "/orders/{id}",
    tag = "Orders: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ReadParams,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier response."),
    ),
    responses(
        (
            status = 200,
            description = "The order.",
            body = OrderDocument,
            headers(("etag" = String, description = "`\"<version>\"`, followed by the sum of the versions of invoice, refunds and returns once there are any, and by 1 while a return may be requested")),
        ),
        (status = 304, description = "Unchanged."),
        (status = 403, description = "`FORBIDDEN`: customers see no history", body = ErrorBody),
        (status = 404, description = "`ORDER_NOT_FOUND`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_order(
    State(api): State<Arc<Api>>,
    id: OrderId,
    caller: Caller,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReadParams>,
) -> Result<Response, ApiError> {
    let history = params.history(&api, &caller, &headers, EntityType::Order, id.0).await?;
    let found = api.orders.get(id.0, caller.owner()).await?.ok_or_else(|| id.not_found())?;
    let (version, inner_version) = (found.version, found.inner_version);
    let (mut document, may_return) = api.shown(&caller).order(found);
    if let Some(history) = history {
        document = documents::with_history(document, &history);
    }
    Ok(documents::respond(document, documents::etag(version, inner_version, may_return), &headers))
}

/// All state changes of an order, oldest first.
#[utoipa::path(
    get,
    path = "/orders/{id}/history",
    tag = "Orders: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
    ),
    responses(
        (status = 200, description = "The history.", body = History),
        (status = 404, description = "`ORDER_NOT_FOUND`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_order_history(
    State(api): State<Arc<Api>>,
    id: OrderId,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::History).await?;
    let entries = store::history(&api.read, EntityType::Order, id.0).await?;
    documents::history(&entries).ok_or_else(|| id.not_found())
}
