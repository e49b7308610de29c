//! `GET /orders`, `/orders/{id}`, `/orders/{id}/history`.

use std::sync::Arc;

use access::Caller;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use contracts::{EntityType, OrderDocument};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};

use super::consistency::Scope;
use super::documents::{self, History};
use super::lists::{self, OrderListParams, OrderPage};
use super::{Api, ConsistencyParam, OrderId, store};

/// Orders, newest first.
#[utoipa::path(
    get,
    path = "/orders",
    tag = "Orders: queries",
    params(OrderListParams, ("x-consistency-token" = Option<String>, Header, description = "See `consistency`.")),
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
    ApiQuery(params): ApiQuery<OrderListParams>,
) -> Result<Response, ApiError> {
    let (mut filter, consistency) = params.parse()?;
    filter.owner = caller.owner().map(str::to_owned);
    api.wait_for(&headers, consistency.as_deref(), Scope::Documents).await?;
    lists::page(&api.read, &store::ORDERS, &filter).await
}

/// One order with all its details, and its invoice once there is one.
#[utoipa::path(
    get,
    path = "/orders/{id}",
    tag = "Orders: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier response."),
    ),
    responses(
        (
            status = 200,
            description = "The order.",
            body = OrderDocument,
            headers(("etag" = String, description = "`\"<version>\"`, with an invoice `\"<version>.<version of the invoice>\"`")),
        ),
        (status = 304, description = "Unchanged."),
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
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let found = api.orders.get(id.0, caller.owner()).await?.ok_or_else(|| id.not_found())?;
    Ok(documents::respond(found, &headers))
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
