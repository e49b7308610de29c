//! Returns by goods and by reason.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};

use super::request::{DefaultPeriod, Format, Period};
use super::{Api, Report, any_of, begin_reading, respond};

/// The query parameters of this report; others are refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReturnsParams {
    /// `sku` (the default) or `reason`.
    #[param(pattern = "^(sku|reason)$")]
    by: Option<String>,
    /// `return` (the default): the sales and the return requests of the period. `order`: the sales of the period and all their
    /// return requests, including later ones.
    #[param(pattern = "^(return|order)$")]
    dated: Option<String>,
    /// The first day, `YYYY-MM-DD` in Asia/Kolkata.
    #[param(format = Date, pattern = "^(19|[2-9][0-9])")]
    from: Option<String>,
    /// The last day; the report includes it.
    #[param(format = Date, pattern = "^(19|[2-9][0-9])")]
    to: Option<String>,
    /// `json` (the default) or `csv`; the header `Accept: text/csv` means the same as `csv`.
    #[param(value_type = Option<Format>, inline)]
    format: Option<String>,
    /// Consistency tokens, as in all other queries.
    consistency: Option<String>,
}

/// The returns of one SKU in one currency. The SKU with the most returned units comes first.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReturnsOfSku {
    pub sku: String,
    pub title: String,
    pub currency: String,
    /// Units in paid orders that were not cancelled.
    pub units_sold: i64,
    /// Return requests, including rejected ones.
    pub returns: i64,
    /// Units in return requests, without rejected ones.
    pub units_returned: i64,
    /// Units in rejected return requests.
    pub units_rejected: i64,
    /// The refund amount of completed returns.
    pub refunded_minor: i64,
    /// Units returned divided by units sold; null when none was sold. With `dated=return` it is above 1 when more units came back
    /// than were sold in the period.
    pub return_rate: Option<f64>,
}

/// The returns for one reason in one currency. The most frequent reason comes first.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReturnsForReason {
    /// Null when the customer gave none.
    pub reason: Option<String>,
    pub currency: String,
    pub returns: i64,
    /// Units in return requests, without rejected ones.
    pub units_returned: i64,
    /// Units in rejected return requests.
    pub units_rejected: i64,
    pub refunded_minor: i64,
    /// The share of all units returned in this currency, 0 to 1; null when none was returned.
    pub share: Option<f64>,
}

any_of! {
    /// A row of the report: by SKU, or by reason.
    ReturnsRow: ReturnsOfSku, ReturnsForReason
}

/// Returns by SKU, with the return rate, or by reason. Without a period: the last 30 days.
#[utoipa::path(
    get,
    path = "/reports/returns",
    tag = "Reports",
    params(ReturnsParams),
    responses(
        (status = 200, description = "By SKU. With `by=reason` the members are `reason`, `currency`, `returns`, `units_returned`, `units_rejected`, `refunded_minor` and `share`. With `format=csv` as CSV.", content((Report<ReturnsRow> = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn returns_report(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ReturnsParams>,
) -> Result<Response, ApiError> {
    let ReturnsParams { by, dated, from, to, format, consistency } = params;
    let mut request = api.begin_report(&headers, [&from, &to, &format], DefaultPeriod::LastThirtyDays);
    let by_reason = request.parameters.one_of("by", by.as_deref(), &["sku", "reason"], |word| word) == Some("reason");
    let by_order_date =
        request.parameters.one_of("dated", dated.as_deref(), &["return", "order"], |word| word) == Some("order");
    let (period, format) = api.accept_report(&headers, request, consistency.as_deref()).await?;
    let mut tx = begin_reading(&api.reports).await?;
    if by_reason {
        respond("returns-by-reason", period, format, reasons(&mut tx, period, by_order_date).await?)
    } else {
        respond("returns-by-sku", period, format, skus(&mut tx, period, by_order_date).await?)
    }
}

pub(crate) async fn skus(
    conn: &mut PgConnection,
    period: Period,
    by_order_date: bool,
) -> sqlx::Result<Vec<ReturnsOfSku>> {
    sqlx::query_as!(
        ReturnsOfSku,
        r#"
        with sold as (
            select sku, currency, min(title) as title, sum(quantity) as units
            from read.sold_lines
            where sold_on between $1 and $2
              and order_id not in (select order_id from read.order_facts where cancelled_on is not null)
            group by sku, currency
        ), returned as (
            select return_id, back.state, back.currency
            from read.return_facts as back left join read.order_facts using (order_id)
            where case when $3 then sold_on else requested_on end between $1 and $2
        ), back as (
            select sku, currency, min(title) as title, count(distinct return_id) as returns,
                   coalesce(sum(quantity) filter (where state <> 'REJECTED'), 0) as units,
                   coalesce(sum(quantity) filter (where state = 'REJECTED'), 0) as rejected,
                   coalesce(sum(amount_minor) filter (where state = 'COMPLETED'), 0) as refunded
            from returned join read.return_lines using (return_id)
            group by sku, currency
        )
        select sku as "sku!", coalesce(sold.title, back.title) as "title!", currency as "currency!",
               coalesce(sold.units, 0) as "units_sold!", coalesce(returns, 0) as "returns!",
               coalesce(back.units, 0) as "units_returned!", coalesce(rejected, 0) as "units_rejected!",
               read.figure(coalesce(refunded, 0)) as "refunded_minor!",
               round(coalesce(back.units, 0)::numeric / sold.units, 4)::float8 as return_rate
        from sold full join back using (sku, currency)
        order by coalesce(back.units, 0) desc, coalesce(sold.units, 0) desc, sku, currency
        "#,
        period.first(),
        period.last(),
        by_order_date,
    )
    .fetch_all(conn)
    .await
}

pub(crate) async fn reasons(
    conn: &mut PgConnection,
    period: Period,
    by_order_date: bool,
) -> sqlx::Result<Vec<ReturnsForReason>> {
    sqlx::query_as!(
        ReturnsForReason,
        r#"
        with returned as (
            select return_id, back.state, back.currency
            from read.return_facts as back left join read.order_facts using (order_id)
            where case when $1 then sold_on else requested_on end between $2 and $3
        ), back as (
            select reason, currency, count(distinct return_id) as returns,
                   coalesce(sum(quantity) filter (where state <> 'REJECTED'), 0) as units,
                   coalesce(sum(quantity) filter (where state = 'REJECTED'), 0) as rejected,
                   coalesce(sum(amount_minor) filter (where state = 'COMPLETED'), 0) as refunded
            from returned join read.return_lines using (return_id)
            group by reason, currency
        )
        select reason, currency as "currency!", returns as "returns!", units as "units_returned!", rejected as "units_rejected!",
               read.figure(refunded) as "refunded_minor!",
               round(units::numeric / nullif(sum(units) over (partition by currency), 0), 4)::float8 as share
        from back
        order by units desc, returns desc, reason, currency
        "#,
        by_order_date,
        period.first(),
        period.last(),
    )
    .fetch_all(conn)
    .await
}
