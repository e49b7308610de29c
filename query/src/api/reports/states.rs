//! How many orders are in which state.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::period::{Period, Unless};
use super::{Api, Report, ReportParams, answer, reading};

/// The orders of one state and currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrdersInState {
    pub state: String,
    pub currency: String,
    pub orders: i64,
    pub units: i64,
    pub total_minor: i64,
}

/// The orders placed in a period, by the state in which they are now. Without a period: all orders.
#[utoipa::path(
    get,
    path = "/reports/orders-by-state",
    tag = "Reports",
    params(ReportParams),
    responses(
        (status = 200, description = "The states; with `format=csv` as CSV.", content((Report<OrdersInState> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`", body = ErrorBody),
    )
)]
pub(super) async fn orders_by_state(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReportParams>,
) -> Result<Response, ApiError> {
    let (period, format) = api.asked(&headers, &params, Unless::Everything).await?;
    let rows = states(&mut *reading(&api.read).await?, period).await?;
    answer("orders-by-state", period, format, rows)
}

pub(super) async fn states(conn: &mut PgConnection, period: Period) -> sqlx::Result<Vec<OrdersInState>> {
    sqlx::query_as!(
        OrdersInState,
        r#"
        select state, currency, count(*) as "orders!", sum(units)::int8 as "units!", sum(total_minor)::int8 as "total_minor!"
        from read.order_facts
        where placed_on between $1 and $2
        group by state, currency
        order by array_position(array['PENDING_PAYMENT', 'PAID', 'PROCESSING_IN_WAREHOUSE', 'SHIPPED', 'DELIVERED', 'CANCELLED'],
                                state), currency
        "#,
        period.first(),
        period.last(),
    )
    .fetch_all(conn)
    .await
}
