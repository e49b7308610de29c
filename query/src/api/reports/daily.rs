//! The report of a day, made once in the night after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, NaiveDate, Utc};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;

use super::period::{Period, Unless};
use super::{Api, Report, ReportParams, answer, reading};
use super::{refunds, sales, states};

/// What is reported even on a day without any sale.
const CURRENCY: &str = "INR";

/// One figure of a day's report in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DailyFigure {
    pub day: NaiveDate,
    /// Of the day: `placed`, `sold`, `units_sold`, `discounts`, `shipping`, `tax`, `cancelled`, `refunded`, `net_sales`,
    /// `returns_requested`, `returns_completed`. As things stood when it was made: `refunds_owed`, `refunds_in_doubt`,
    /// `refunds_failed`, and `orders_` with a state in lower case.
    pub figure: String,
    pub currency: String,
    /// 0 where only an amount says something.
    pub count: i64,
    /// 0 where only a number says something.
    pub amount_minor: i64,
    pub made_at: DateTime<Utc>,
}

/// The reports of days as they were made after midnight in Asia/Kolkata. Without a period: the last 30 days. A day whose report
/// has not been made has no rows.
#[utoipa::path(
    get,
    path = "/reports/daily",
    tag = "Reports",
    params(ReportParams),
    responses(
        (status = 200, description = "The figures, day by day; with `format=csv` as CSV.", content((Report<DailyFigure> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`", body = ErrorBody),
    )
)]
pub(super) async fn daily_reports(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReportParams>,
) -> Result<Response, ApiError> {
    let (period, format) = api.asked(&headers, &params, Unless::LastThirtyDays).await?;
    let rows = sqlx::query_as!(
        DailyFigure,
        r#"
        select day, figure, currency, count, amount_minor, made_at from read.daily_reports
        where day between $1 and $2 order by day, currency, place
        "#,
        period.first(),
        period.last(),
    )
    .fetch_all(&api.read)
    .await?;
    answer("daily", period, format, rows)
}

/// The days up to this one that have no report, though one before them has; and this one, if it has none.
pub(crate) async fn missing(read: &PgPool, last: NaiveDate, look_back_days: i32) -> sqlx::Result<Vec<NaiveDate>> {
    sqlx::query_scalar!(
        r#"
        select wanted::date as "day!"
        from generate_series(
                 greatest(coalesce((select min(day) from read.daily_reports), $1), $1 - $2::int)::timestamp, $1::timestamp,
                 interval '1 day') as wanted
        where not exists (select from read.daily_reports where day = wanted::date)
        order by 1
        "#,
        last,
        look_back_days,
    )
    .fetch_all(read)
    .await
}

/// Makes the report of a day, unless it has been made. Returns how many figures it has.
pub(crate) async fn make(read: &PgPool, day: NaiveDate, made_at: DateTime<Utc>) -> sqlx::Result<usize> {
    let figures = figures(&mut *reading(read).await?, day).await?;
    let (mut places, mut names, mut currencies, mut counts, mut amounts) = (vec![], vec![], vec![], vec![], vec![]);
    for (currency, of_currency) in &figures {
        for (place, (name, count, amount)) in (1_i32..).zip(of_currency) {
            places.push(place);
            names.push(name.as_str());
            currencies.push(currency.as_str());
            counts.push(*count);
            amounts.push(*amount);
        }
    }
    sqlx::query!(
        r#"
        insert into read.daily_reports (day, made_at, place, figure, currency, count, amount_minor)
        select $1, $2, made.* from unnest($3::int[], $4::text[], $5::text[], $6::int8[], $7::int8[]) as made
        where not exists (select from read.daily_reports where day = $1)
        "#,
        day,
        made_at,
        &places,
        &names as &[&str],
        &currencies as &[&str],
        &counts,
        &amounts,
    )
    .execute(read)
    .await?;
    Ok(places.len())
}

/// Name, number and amount.
type Figure = (String, i64, i64);

/// In one transaction, so that they agree with each other.
async fn figures(conn: &mut PgConnection, day: NaiveDate) -> sqlx::Result<BTreeMap<String, Vec<Figure>>> {
    let of_the_day = Period { from: Some(day), to: Some(day) };
    let ever = Period { from: None, to: None };
    let mut figures = BTreeMap::from([(CURRENCY.to_owned(), Vec::new())]);
    let mut add = |currency: String, name: &str, count: i64, amount: i64| {
        figures.entry(currency).or_insert_with(Vec::new).push((name.to_owned(), count, amount));
    };
    for sold in sales::sales(conn, of_the_day).await? {
        for (name, count, amount) in [
            ("placed", sold.placed, 0),
            ("sold", sold.orders, sold.total_minor),
            ("units_sold", sold.units, sold.subtotal_minor),
            ("discounts", 0, sold.discount_minor),
            ("shipping", 0, sold.shipping_minor),
            ("tax", 0, sold.tax_minor),
            ("cancelled", sold.cancelled, sold.cancelled_minor),
            ("refunded", sold.refunds, sold.refunded_minor),
            ("net_sales", 0, sold.net_minor),
        ] {
            add(sold.currency.clone(), name, count, amount);
        }
    }
    for back in returned(conn, day).await? {
        add(back.currency.clone(), "returns_requested", back.requested, back.requested_minor);
        add(back.currency, "returns_completed", back.completed, back.completed_minor);
    }
    for due in refunds::refunds(conn, ever).await? {
        add(due.currency.clone(), "refunds_owed", due.owed, due.owed_minor);
        add(due.currency.clone(), "refunds_in_doubt", due.in_doubt, due.in_doubt_minor);
        add(due.currency, "refunds_failed", due.failed, due.failed_minor);
    }
    for state in states::states(conn, ever).await? {
        let name = format!("orders_{}", state.state.to_lowercase());
        add(state.currency, &name, state.orders, state.total_minor);
    }
    // A day on which nothing happened has a report that says so.
    if let Some(figures) = figures.get_mut(CURRENCY)
        && figures.is_empty()
    {
        figures.push(("sold".to_owned(), 0, 0));
    }
    Ok(figures)
}

/// What was asked to be taken back on a day, and what was taken back.
struct Returned {
    currency: String,
    requested: i64,
    requested_minor: i64,
    completed: i64,
    completed_minor: i64,
}

async fn returned(conn: &mut PgConnection, day: NaiveDate) -> sqlx::Result<Vec<Returned>> {
    sqlx::query_as!(
        Returned,
        r#"
        select currency,
               count(*) filter (where requested_on = $1) as "requested!",
               coalesce(sum(amount_minor) filter (where requested_on = $1), 0)::int8 as "requested_minor!",
               count(*) filter (where completed_on = $1) as "completed!",
               coalesce(sum(amount_minor) filter (where completed_on = $1), 0)::int8 as "completed_minor!"
        from read.return_facts where requested_on = $1 or completed_on = $1
        group by currency order by currency
        "#,
        day,
    )
    .fetch_all(conn)
    .await
}
