//! `GET /reports/…`: sums over the facts that the projector keeps, as JSON or CSV.
//!
//! Days are business days (Asia/Kolkata), amounts are in the minor unit (paise), and no sum mixes currencies. Sales,
//! cancellations and refunds count on the day on which they happened, so the figures of a past day do not change.

pub(crate) mod sales;
pub(crate) mod states;
pub(crate) mod returns;
pub(crate) mod refunds;
pub(crate) mod lead_times;
mod gst;
mod daily;
mod request;
pub(crate) mod csv;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use runtime::ApiError;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Postgres, Transaction};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use daily::DailyFigure;
pub use gst::{GstDocument, GstHsn, GstNil, GstOthers, GstReport, GstSeries};
pub use lead_times::LeadTime;
pub use refunds::RefundTotals;
pub use returns::{ReturnsForReason, ReturnsOfSku};
pub use sales::SalesDay;
pub use states::OrdersInState;

use super::Api;
use super::consistency::Scope;
use super::documents::json;
use crate::business_day::day_of;
use request::{DefaultPeriod, Format, ReportRequest};

pub(crate) use request::Period;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(daily::daily_reports))
        .routes(routes!(sales::daily_sales))
        .routes(routes!(states::orders_by_state))
        .routes(routes!(returns::returns_report))
        .routes(routes!(refunds::refunds_report))
        .routes(routes!(lead_times::lead_times))
        .routes(routes!(gst::gst_report))
        .routes(routes!(gst::gstr1_file))
        .routes(routes!(gst::gstr1_sheet))
}

/// The query parameters of every report; others are refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReportParams {
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

impl Api {
    /// The whole prologue of a report without parameters of its own.
    async fn simple_report(
        &self,
        headers: &HeaderMap,
        params: &ReportParams,
        default: DefaultPeriod,
    ) -> Result<(Period, Format), ApiError> {
        let ReportParams { from, to, format, consistency } = params;
        let request = self.begin_report(headers, [from, to, format], default);
        self.accept_report(headers, request, consistency.as_deref()).await
    }

    /// Parses period and format. A report with more parameters adds their errors before it calls `accept_report`.
    fn begin_report(
        &self,
        headers: &HeaderMap,
        [from, to, format]: [&Option<String>; 3],
        default: DefaultPeriod,
    ) -> ReportRequest {
        let today = day_of(self.clock.now());
        ReportRequest::parse(headers, from.as_deref(), to.as_deref(), format.as_deref(), today, default)
    }

    /// Refuses a request with errors, then waits for the versions of its consistency tokens.
    async fn accept_report(
        &self,
        headers: &HeaderMap,
        request: ReportRequest,
        consistency: Option<&str>,
    ) -> Result<(Period, Format), ApiError> {
        let accepted = request.finish()?;
        self.wait_for(headers, consistency, Scope::Documents).await?;
        Ok(accepted)
    }
}

/// A report: its period and its rows.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Report<Row> {
    /// Null when the period has no start.
    pub from: Option<chrono::NaiveDate>,
    /// Null when the period has no end.
    pub to: Option<chrono::NaiveDate>,
    pub data: Vec<Row>,
}

/// A stand-in for the API description: any of these schemas. utoipa would write `oneOf`, which is wrong where a value may fit two.
macro_rules! any_of {
    ($(#[$doc:meta])* $name:ident: $($schema:ty),+) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let any_of = utoipa::openapi::schema::AnyOfBuilder::new();
                any_of$(.item(utoipa::openapi::Ref::from_schema_name(<$schema as utoipa::ToSchema>::name())))+.into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                $(
                    let schema = <$schema as utoipa::PartialSchema>::schema();
                    schemas.push((<$schema as utoipa::ToSchema>::name().into_owned(), schema));
                    <$schema as utoipa::ToSchema>::schemas(schemas);
                )+
            }
        }
    };
}
use any_of;

/// The rows in the format that the client asks for; a CSV file's name starts with `name`.
fn respond<Row: Serialize + Default>(
    name: &str,
    period: Period,
    format: Format,
    data: Vec<Row>,
) -> Result<Response, ApiError> {
    match format {
        Format::Json => {
            let report = Report { from: period.from, to: period.to, data };
            Ok(json(serde_json::to_string(&report).map_err(ApiError::internal)?).into_response())
        }
        Format::Csv => {
            let body = csv::to_csv(&data).map_err(ApiError::internal)?;
            csv_file(&format!("{name}{}", period.suffix()), body)
        }
    }
}

/// A CSV file to download.
fn csv_file(name: &str, body: Vec<u8>) -> Result<Response, ApiError> {
    let disposition =
        HeaderValue::from_str(&format!("attachment; filename=\"{name}.csv\"")).map_err(ApiError::internal)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, body).into_response())
}

/// A read-only transaction in which all statements see the same instant. More memory keeps the sorts off the disk.
pub(crate) async fn begin_reading(read: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = read.begin().await?;
    let settings = "set transaction isolation level repeatable read, read only; set local work_mem = '32MB'";
    sqlx::raw_sql(settings).execute(&mut *tx).await?;
    Ok(tx)
}
