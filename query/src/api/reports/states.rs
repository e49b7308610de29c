//! Orders by state.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use contracts::OrderState;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::request::{DefaultPeriod, Period};
use super::{Api, Report, ReportParams, begin_reading, respond};

/// The orders of one state and currency.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrdersInState {
    pub state: String,
    pub currency: String,
    pub orders: i64,
    pub units: i64,
    pub total_minor: i64,
}

/// The orders placed in a period, by their present state. Without a period: all orders.
#[utoipa::path(
    get,
    path = "/reports/orders-by-state",
    tag = "Reports",
    params(ReportParams),
    responses(
        (status = 200, description = "The states; with `format=csv` as CSV.", content((Report<OrdersInState> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn orders_by_state(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReportParams>,
) -> Result<Response, ApiError> {
    let (period, format) = api.simple_report(&headers, &params, DefaultPeriod::Everything).await?;
    let rows = totals(&mut *begin_reading(&api.reports).await?, period).await?;
    respond("orders-by-state", period, format, rows)
}

pub(crate) async fn totals(conn: &mut PgConnection, period: Period) -> sqlx::Result<Vec<OrdersInState>> {
    let in_order = OrderState::ALL.map(OrderState::as_str);
    sqlx::query_as!(
        OrdersInState,
        r#"
        select state, currency, count(*) as "orders!", read.figure(sum(units)) as "units!", read.figure(sum(total_minor)) as "total_minor!"
        from read.order_facts
        where placed_on between $1 and $2
        group by state, currency
        order by array_position($3::text[], state), currency
        "#,
        period.first(),
        period.last(),
        &in_order as &[&str],
    )
    .fetch_all(conn)
    .await
}
