//! Sales by day.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::NaiveDate;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::request::{DefaultPeriod, Period};
use super::{Api, Report, ReportParams, begin_reading, respond};

/// One day in one currency.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SalesDay {
    pub day: NaiveDate,
    pub currency: String,
    /// Orders placed, paid or not.
    pub placed: i64,
    /// Orders paid. These are the sales.
    pub orders: i64,
    pub units: i64,
    /// Quantity × price of the goods sold.
    pub subtotal_minor: i64,
    pub discount_minor: i64,
    pub shipping_minor: i64,
    /// The GST in `total_minor`.
    pub tax_minor: i64,
    pub total_minor: i64,
    /// Sales of this or an earlier day that were cancelled on this day.
    pub cancelled: i64,
    pub cancelled_minor: i64,
    /// Refunds paid on this day.
    /// Without those of cancelled orders.
    pub refunds: i64,
    pub refunded_minor: i64,
    /// total − cancelled − refunded.
    pub net_minor: i64,
}

/// Sales, cancellations and refunds, day by day. A sale counts on the day of its payment. Without a period: the last 30 days.
/// Days without any event are left out.
#[utoipa::path(
    get,
    path = "/reports/sales/daily",
    tag = "Reports",
    params(ReportParams),
    responses(
        (status = 200, description = "The days, oldest first; with `format=csv` as CSV.", content((Report<SalesDay> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn daily_sales(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReportParams>,
) -> Result<Response, ApiError> {
    let (period, format) = api.simple_report(&headers, &params, DefaultPeriod::LastThirtyDays).await?;
    let rows = by_day(&mut *begin_reading(&api.reports).await?, period).await?;
    respond("sales-daily", period, format, rows)
}

pub(crate) async fn by_day(conn: &mut PgConnection, period: Period) -> sqlx::Result<Vec<SalesDay>> {
    sqlx::query_as!(
        SalesDay,
        r#"
        with part (day, currency, placed, orders, units, subtotal, discount, shipping, tax, total, cancelled, cancelled_total,
                   refunds, refunded) as (
            select placed_on, currency, count(*), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
            from read.order_facts where placed_on between $1 and $2 group by placed_on, currency
            union all
            select sold_on, currency, 0, count(*), sum(units), sum(subtotal_minor), sum(discount_minor), sum(shipping_minor),
                   sum(tax_minor), sum(total_minor), 0, 0, 0, 0
            from read.order_facts where sold_on between $1 and $2 group by sold_on, currency
            union all
            select cancelled_on, currency, 0, 0, 0, 0, 0, 0, 0, 0, count(*), sum(total_minor), 0, 0
            from read.order_facts where cancelled_on between $1 and $2 and sold_on is not null group by cancelled_on, currency
            union all
            select processed_on, currency, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, count(*), sum(amount_minor)
            from read.refunds where processed_on between $1 and $2 and kind <> 'CANCELLATION' group by processed_on, currency
        )
        select day as "day!", currency as "currency!", read.figure(sum(placed)) as "placed!", read.figure(sum(orders)) as "orders!",
               read.figure(sum(units)) as "units!", read.figure(sum(subtotal)) as "subtotal_minor!", read.figure(sum(discount)) as "discount_minor!",
               read.figure(sum(shipping)) as "shipping_minor!", read.figure(sum(tax)) as "tax_minor!", read.figure(sum(total)) as "total_minor!",
               read.figure(sum(cancelled)) as "cancelled!", read.figure(sum(cancelled_total)) as "cancelled_minor!",
               read.figure(sum(refunds)) as "refunds!", read.figure(sum(refunded)) as "refunded_minor!",
               read.figure(sum(total) - sum(cancelled_total) - sum(refunded)) as "net_minor!"
        from part group by day, currency order by day, currency
        "#,
        period.first(),
        period.last(),
    )
    .fetch_all(conn)
    .await
}
