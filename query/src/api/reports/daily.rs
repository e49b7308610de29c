//! The stored reports of days: [`crate::maintenance::nightly_report`] makes each one in the night after its day.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use super::request::{DefaultPeriod, Period};
use super::{Api, Report, ReportParams, respond};

/// One figure of a day's report in one currency.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DailyFigure {
    pub day: NaiveDate,
    /// About the day: `placed`, `sold`, `units_sold`, `discounts`, `shipping`, `tax`, `cancelled`, `refunded`, `net_sales`,
    /// `returns_requested`, `returns_completed`. About the moment when the report was made: `refunds_owed`, `refunds_in_doubt`,
    /// `refunds_failed`, and `orders_` followed by a state in lower case.
    pub figure: String,
    pub currency: String,
    /// 0 for a figure that is only an amount.
    pub count: i64,
    /// 0 for a figure that is only a count.
    pub amount_minor: i64,
    pub made_at: DateTime<Utc>,
}

/// The reports of days, as they were made after midnight in Asia/Kolkata. Without a period: the last 30 days. A day without a
/// report has no rows.
#[utoipa::path(
    get,
    path = "/reports/daily",
    tag = "Reports",
    params(ReportParams),
    responses(
        (status = 200, description = "The figures, day by day; with `format=csv` as CSV.", content((Report<DailyFigure> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn daily_reports(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReportParams>,
) -> Result<Response, ApiError> {
    let (period, format) = api.simple_report(&headers, &params, DefaultPeriod::LastThirtyDays).await?;
    respond("daily", period, format, stored(&api.reports, period).await?)
}

async fn stored(read: &PgPool, period: Period) -> sqlx::Result<Vec<DailyFigure>> {
    sqlx::query_as!(
        DailyFigure,
        r#"
        select day, figure, currency, count, amount_minor, made_at from read.daily_reports
        where day between $1 and $2 order by day, currency, place
        "#,
        period.first(),
        period.last(),
    )
    .fetch_all(read)
    .await
}
