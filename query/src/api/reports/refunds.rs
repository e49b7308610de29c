//! Refunds that are owed, and refunds that have been paid.

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

/// The refunds of one currency. `owed` counts all refunds that are not paid, including those in doubt and those that failed.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefundTotals {
    pub currency: String,
    pub owed: i64,
    pub owed_minor: i64,
    /// The day since which the oldest unpaid refund has been owed.
    pub owed_since: Option<NaiveDate>,
    pub paid: i64,
    pub paid_minor: i64,
    /// The gateway may have paid it, or not; the workers look it up until they know.
    pub in_doubt: i64,
    pub in_doubt_minor: i64,
    /// Refused by the gateway. `POST /refunds/{id}/retry` has one paid after all.
    pub failed: i64,
    pub failed_minor: i64,
}

/// The refunds made in a period, for returns and cancellations: owed, paid, in doubt. Without a period: all refunds.
#[utoipa::path(
    get,
    path = "/reports/refunds",
    tag = "Reports",
    params(ReportParams),
    responses(
        (status = 200, description = "The currencies; with `format=csv` as CSV.", content((Report<RefundTotals> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn refunds_report(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReportParams>,
) -> Result<Response, ApiError> {
    let (period, format) = api.simple_report(&headers, &params, DefaultPeriod::Everything).await?;
    let rows = totals(&mut *begin_reading(&api.reports).await?, period).await?;
    respond("refunds", period, format, rows)
}

pub(crate) async fn totals(conn: &mut PgConnection, period: Period) -> sqlx::Result<Vec<RefundTotals>> {
    sqlx::query_as!(
        RefundTotals,
        r#"
        with due as (
            select currency, amount_minor, made_on, state as status from read.refunds where made_on between $1 and $2
        )
        select currency,
               count(*) filter (where status <> 'PROCESSED') as "owed!",
               read.figure(coalesce(sum(amount_minor) filter (where status <> 'PROCESSED'), 0)) as "owed_minor!",
               min(made_on) filter (where status <> 'PROCESSED') as owed_since,
               count(*) filter (where status = 'PROCESSED') as "paid!",
               read.figure(coalesce(sum(amount_minor) filter (where status = 'PROCESSED'), 0)) as "paid_minor!",
               count(*) filter (where status = 'IN_DOUBT') as "in_doubt!",
               read.figure(coalesce(sum(amount_minor) filter (where status = 'IN_DOUBT'), 0)) as "in_doubt_minor!",
               count(*) filter (where status = 'FAILED') as "failed!",
               read.figure(coalesce(sum(amount_minor) filter (where status = 'FAILED'), 0)) as "failed_minor!"
        from due group by currency order by currency
        "#,
        period.first(),
        period.last(),
    )
    .fetch_all(conn)
    .await
}
