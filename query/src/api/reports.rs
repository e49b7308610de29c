//! `GET /reports/…`: sums over the facts that the projector keeps, as JSON or CSV.
//!
//! Days are those of Asia/Kolkata, amounts are in the minor unit (paise), and whatever is added up is of one currency.
//! Sales, cancellations and refunds count on the day on which they happened, so what is said of them stands still.

mod csv;
pub(crate) mod daily;
mod gst;
mod lead_times;
mod period;
mod refunds;
mod returns;
mod sales;
mod states;

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
pub use gst::{GstDocument, GstHsn, GstOthers, GstReport, GstSeries};
pub use lead_times::LeadTime;
pub use refunds::RefundTotals;
pub use returns::{ReturnsForReason, ReturnsOfSku};
pub use sales::SalesDay;
pub use states::OrdersInState;

use super::Api;
use super::documents::json;
use crate::consistency::Scope;
use crate::kolkata::day_of;
use period::{Asked, Period, Unless};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(daily::daily_reports))
        .routes(routes!(sales::daily_sales))
        .routes(routes!(states::orders_by_state))
        .routes(routes!(returns::returns_report))
        .routes(routes!(refunds::refunds_report))
        .routes(routes!(lead_times::lead_times))
        .routes(routes!(gst::gst_report))
}

/// What every report understands; anything else is refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReportParams {
    /// The first day, `YYYY-MM-DD` in Asia/Kolkata.
    from: Option<String>,
    /// The last day, included.
    to: Option<String>,
    /// `json` (the default) or `csv`; the header `Accept: text/csv` means the same as `csv`.
    #[param(value_type = Option<Format>)]
    format: Option<String>,
    /// Consistency tokens, as everywhere.
    consistency: Option<String>,
}

impl Api {
    /// What is asked for, once the read model is as new as that wants it.
    async fn asked(
        &self,
        headers: &HeaderMap,
        params: &ReportParams,
        unless: Unless,
    ) -> Result<(Period, Format), ApiError> {
        let ReportParams { from, to, format, consistency } = params;
        let asked = self.begin(headers, [from, to, format], unless);
        self.ready(headers, asked, consistency.as_deref()).await
    }

    /// Period and format, to which a report may add what is wrong with the parameters of its own.
    fn begin(&self, headers: &HeaderMap, [from, to, format]: [&Option<String>; 3], unless: Unless) -> Asked {
        let today = day_of(self.clock.now());
        Asked::new(headers, from.as_deref(), to.as_deref(), format.as_deref(), today, unless)
    }

    async fn ready(
        &self,
        headers: &HeaderMap,
        asked: Asked,
        consistency: Option<&str>,
    ) -> Result<(Period, Format), ApiError> {
        let asked = asked.finish()?;
        self.wait_for(headers, consistency, Scope::Documents).await?;
        Ok(asked)
    }
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
enum Format {
    Json,
    Csv,
}

impl Format {
    const EXPECTED: &str = "must be json or csv";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// What the client prefers where it does not say `format`.
    fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let csv = accepts.flat_map(|types| types.split(',')).any(|media| media.trim().starts_with("text/csv"));
        if csv { Self::Csv } else { Self::Json }
    }
}

/// A report: rows, and what they are about.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Report<Row> {
    /// Null where everything counts, whenever it was.
    pub from: Option<chrono::NaiveDate>,
    pub to: Option<chrono::NaiveDate>,
    pub data: Vec<Row>,
}

/// The rows as the client wants them; `name` begins the name of the file.
fn answer<Row: Serialize>(name: &str, period: Period, format: Format, data: Vec<Row>) -> Result<Response, ApiError> {
    match format {
        Format::Json => {
            let report = Report { from: period.from, to: period.to, data };
            Ok(json(serde_json::to_string(&report).map_err(ApiError::internal)?).into_response())
        }
        Format::Csv => {
            let body = csv::written(&data).map_err(ApiError::internal)?;
            let file = format!("attachment; filename=\"{name}{}.csv\"", period.suffix());
            let disposition = HeaderValue::from_str(&file).map_err(ApiError::internal)?;
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
                (header::CONTENT_DISPOSITION, disposition),
            ];
            Ok((headers, body).into_response())
        }
    }
}

/// A transaction in which everything is of one instant. Sorting in memory is worth it, compiling a statement is not.
async fn reading(read: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = read.begin().await?;
    let settings =
        "set transaction isolation level repeatable read, read only; set local work_mem = '32MB'; set local jit = off";
    sqlx::raw_sql(settings).execute(&mut *tx).await?;
    Ok(tx)
}
