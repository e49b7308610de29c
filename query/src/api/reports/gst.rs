//! What GSTR-1, the return of outward supplies, asks for: from what was printed on invoices and credit notes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::NaiveDate;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody, FieldError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::period::Unless;
use super::{Api, Format, answer, reading};
use crate::api::documents::json;

mod store;

/// What this report understands; anything else is refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GstParams {
    /// The first day, `YYYY-MM-DD` in Asia/Kolkata.
    from: Option<String>,
    /// The last day, included.
    to: Option<String>,
    /// One of `invoices`, `others`, `credit_notes`, `hsn` and `documents`; wanted for CSV, which is one table. As JSON its rows
    /// stand in `data`, as in all other reports.
    section: Option<String>,
    /// `json` (the default) or `csv`; the header `Accept: text/csv` means the same as `csv`.
    #[param(value_type = Option<Format>)]
    format: Option<String>,
    /// Consistency tokens, as everywhere.
    consistency: Option<String>,
}

/// The tables of a period; each day is that of the document.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct GstReport {
    pub from: Option<NaiveDate>,
    pub to: Option<NaiveDate>,
    /// Tables 4, 5 and 6A: invoice by invoice.
    pub invoices: Vec<GstDocument>,
    /// Table 7: all other supplies, by place and rate, less what credit notes took back of them.
    pub others: Vec<GstOthers>,
    /// Table 9B: credit notes to registered recipients, and those for invoices of tables 5 and 6A.
    pub credit_notes: Vec<GstDocument>,
    /// Table 12, less credit notes.
    pub hsn: Vec<GstHsn>,
    /// Table 13.
    pub documents: Vec<GstSeries>,
}

/// One rate of one invoice or credit note.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GstDocument {
    /// `B2B` (to a registered recipient), `B2CL` (to another state, above ₹1,00,000) or `EXP` (abroad); of credit notes
    /// `CDNR` and `CDNUR`.
    pub kind: String,
    pub number: String,
    pub issued_on: NaiveDate,
    pub recipient_gstin: Option<String>,
    pub recipient_name: Option<String>,
    /// Of a credit note: the invoice.
    pub corrects: Option<String>,
    pub corrected_issued_on: Option<NaiveDate>,
    pub place_of_supply: String,
    /// Always `N`.
    pub reverse_charge: String,
    /// Of the whole document.
    pub total_minor: i64,
    /// Per cent; null where nothing is taxed.
    pub gst_rate: Option<f64>,
    pub taxable_minor: i64,
    pub igst_minor: i64,
    pub cgst_minor: i64,
    pub sgst_minor: i64,
}

/// Supplies to unregistered recipients of one place at one rate. Below zero where more was taken back than sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GstOthers {
    pub place_of_supply: String,
    pub gst_rate: Option<f64>,
    pub taxable_minor: i64,
    pub igst_minor: i64,
    pub cgst_minor: i64,
    pub sgst_minor: i64,
}

/// One HSN code at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GstHsn {
    /// `B2B` or `B2C`: the portal wants them apart.
    pub recipients: String,
    pub hsn: Option<String>,
    /// Unit quantity code: `NOS`, pieces.
    pub uqc: String,
    pub quantity: i64,
    pub total_minor: i64,
    pub gst_rate: Option<f64>,
    pub taxable_minor: i64,
    pub igst_minor: i64,
    pub cgst_minor: i64,
    pub sgst_minor: i64,
    pub round_off_minor: i64,
}

/// The numbers of one series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GstSeries {
    /// `invoice` or `credit_note`.
    pub kind: String,
    pub from_number: String,
    pub to_number: String,
    pub issued: i64,
    /// Always 0: a number is given once, to a document that stays.
    pub cancelled: i64,
}

const INVOICE: &str = "invoice";
const CREDIT_NOTE: &str = "credit_note";

/// A table as CSV wants one.
#[derive(Debug, Clone, Copy)]
enum Section {
    Invoices,
    Others,
    CreditNotes,
    Hsn,
    Documents,
}

impl Section {
    const EXPECTED: &str = "must be one of invoices, others, credit_notes, hsn, documents; CSV wants one";

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "invoices" => Self::Invoices,
            "others" => Self::Others,
            "credit_notes" => Self::CreditNotes,
            "hsn" => Self::Hsn,
            "documents" => Self::Documents,
            _ => return None,
        })
    }
}

/// What the shop reports in GSTR-1; sales in other currencies than INR are no part of it. Without a period: this month so far.
#[utoipa::path(
    get,
    path = "/reports/gst",
    tag = "Reports",
    params(GstParams),
    responses(
        (status = 200, description = "All tables; with `format=csv` the one of `section`.", content((GstReport = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`", body = ErrorBody),
    )
)]
pub(super) async fn gst_report(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<GstParams>,
) -> Result<Response, ApiError> {
    let GstParams { from, to, section, format, consistency } = params;
    let mut asked = api.begin(&headers, [&from, &to, &format], Unless::ThisMonth);
    let table = section.as_deref().and_then(Section::parse);
    if table.is_none() && (section.is_some() || asked.format == Format::Csv) {
        asked.wrong.push(FieldError::new("section", Section::EXPECTED));
    }
    let (period, format) = api.ready(&headers, asked, consistency.as_deref()).await?;
    let mut tx = reading(&api.read).await?;
    let (conn, first, last) = (&mut *tx, period.first(), period.last());
    match table {
        Some(Section::Invoices) => {
            answer("gst-invoices", period, format, store::one_by_one(conn, INVOICE, first, last).await?)
        }
        Some(Section::Others) => answer("gst-others", period, format, store::others(conn, first, last).await?),
        Some(Section::CreditNotes) => {
            answer("gst-credit-notes", period, format, store::one_by_one(conn, CREDIT_NOTE, first, last).await?)
        }
        Some(Section::Hsn) => answer("gst-hsn", period, format, store::hsn(conn, first, last).await?),
        Some(Section::Documents) => answer("gst-documents", period, format, store::documents(conn, first, last).await?),
        None => {
            let report = GstReport {
                from: period.from,
                to: period.to,
                invoices: store::one_by_one(conn, INVOICE, first, last).await?,
                others: store::others(conn, first, last).await?,
                credit_notes: store::one_by_one(conn, CREDIT_NOTE, first, last).await?,
                hsn: store::hsn(conn, first, last).await?,
                documents: store::documents(conn, first, last).await?,
            };
            Ok(json(serde_json::to_string(&report).map_err(ApiError::internal)?).into_response())
        }
    }
}
