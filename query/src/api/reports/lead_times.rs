//! How long orders and returns stay in each state.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::request::{DefaultPeriod, Period};
use super::{Api, Report, ReportParams, begin_reading, respond};

/// The time that orders or returns spent in a state before they left it.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeadTime {
    /// `order` or `return`.
    pub entity: String,
    pub state: String,
    /// The number of orders or returns that have left the state.
    pub left: i64,
    pub mean_seconds: Option<f64>,
    /// The median.
    pub p50_seconds: Option<i32>,
    pub p95_seconds: Option<i32>,
    pub max_seconds: Option<i32>,
}

/// How long the orders placed and the returns requested in a period stayed in each state that they have left. Without a period:
/// the last 30 days.
#[utoipa::path(
    get,
    path = "/reports/lead-times",
    tag = "Reports",
    params(ReportParams),
    responses(
        (status = 200, description = "The states in the order in which they are passed; with `format=csv` as CSV.", content((Report<LeadTime> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn lead_times(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReportParams>,
) -> Result<Response, ApiError> {
    let (period, format) = api.simple_report(&headers, &params, DefaultPeriod::LastThirtyDays).await?;
    let rows = times(&mut *begin_reading(&api.reports).await?, period).await?;
    respond("lead-times", period, format, rows)
}

/// Scans each table once for all its states.
pub(crate) async fn times(conn: &mut PgConnection, period: Period) -> sqlx::Result<Vec<LeadTime>> {
    sqlx::query_as!(
        LeadTime,
        r#"
        with orders as (
            select count(pending_seconds) as n1, avg(pending_seconds) as mean1, max(pending_seconds) as max1,
                   percentile_disc(array[0.5, 0.95]) within group (order by pending_seconds) as p1,
                   count(paid_seconds) as n2, avg(paid_seconds) as mean2, max(paid_seconds) as max2,
                   percentile_disc(array[0.5, 0.95]) within group (order by paid_seconds) as p2,
                   count(processing_seconds) as n3, avg(processing_seconds) as mean3, max(processing_seconds) as max3,
                   percentile_disc(array[0.5, 0.95]) within group (order by processing_seconds) as p3,
                   count(shipped_seconds) as n4, avg(shipped_seconds) as mean4, max(shipped_seconds) as max4,
                   percentile_disc(array[0.5, 0.95]) within group (order by shipped_seconds) as p4
            from read.order_facts where placed_on between $1 and $2
        ), returns as (
            select count(requested_seconds) as n1, avg(requested_seconds) as mean1, max(requested_seconds) as max1,
                   percentile_disc(array[0.5, 0.95]) within group (order by requested_seconds) as p1,
                   count(approved_seconds) as n2, avg(approved_seconds) as mean2, max(approved_seconds) as max2,
                   percentile_disc(array[0.5, 0.95]) within group (order by approved_seconds) as p2,
                   count(in_transit_seconds) as n3, avg(in_transit_seconds) as mean3, max(in_transit_seconds) as max3,
                   percentile_disc(array[0.5, 0.95]) within group (order by in_transit_seconds) as p3,
                   count(received_seconds) as n4, avg(received_seconds) as mean4, max(received_seconds) as max4,
                   percentile_disc(array[0.5, 0.95]) within group (order by received_seconds) as p4
            from read.return_facts where requested_on between $1 and $2
        ), stays as (
            select stay.* from orders, lateral (values
                (1, 'order', 'PENDING_PAYMENT', n1, mean1, p1, max1), (2, 'order', 'PAID', n2, mean2, p2, max2),
                (3, 'order', 'PROCESSING_IN_WAREHOUSE', n3, mean3, p3, max3), (4, 'order', 'SHIPPED', n4, mean4, p4, max4))
                as stay (place, entity, state, n, mean, p, longest)
            union all
            select stay.* from returns, lateral (values
                (5, 'return', 'REQUESTED', n1, mean1, p1, max1), (6, 'return', 'APPROVED', n2, mean2, p2, max2),
                (7, 'return', 'IN_TRANSIT', n3, mean3, p3, max3), (8, 'return', 'RECEIVED', n4, mean4, p4, max4))
                as stay (place, entity, state, n, mean, p, longest)
        )
        select entity as "entity!", state as "state!", n as "left!", round(mean, 1)::float8 as mean_seconds,
               p[1] as p50_seconds, p[2] as p95_seconds, longest as max_seconds
        from stays order by place
        "#,
        period.first(),
        period.last(),
    )
    .fetch_all(conn)
    .await
}
