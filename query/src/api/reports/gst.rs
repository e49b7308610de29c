//! The figures for GSTR-1, the return of outward supplies, as printed on invoices and credit notes.

mod portal;
mod offline;
mod store;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use chrono::{Months, NaiveDate};
use contracts::day_in_india;
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use offline::Sheet;

use super::request::{DefaultPeriod, Format};
use super::{Api, any_of, begin_reading, csv_file, respond};
use crate::api::consistency::Scope;
use crate::api::documents::json;

/// The query parameters of this report; others are refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GstParams {
    /// The first day, `YYYY-MM-DD` in Asia/Kolkata.
    #[param(format = Date, pattern = "^(19|[2-9][0-9])")]
    from: Option<String>,
    /// The last day; the report includes it.
    #[param(format = Date, pattern = "^(19|[2-9][0-9])")]
    to: Option<String>,
    /// One of `invoices`, `others`, `credit_notes`, `nil`, `hsn` and `documents`. CSV needs it, because a CSV file is one table. In JSON
    /// its rows are in `data`, as in all other reports.
    #[param(pattern = "^(invoices|others|credit_notes|nil|hsn|documents)$")]
    section: Option<String>,
    /// `json` (the default) or `csv`; the header `Accept: text/csv` means the same as `csv`.
    #[param(value_type = Option<Format>, inline)]
    format: Option<String>,
    /// Consistency tokens, as in all other queries.
    consistency: Option<String>,
}

/// The tables of GSTR-1 for a period. A document counts on the day of its issue.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct GstReport {
    /// Null when the period has no start.
    pub from: Option<NaiveDate>,
    /// Null when the period has no end.
    pub to: Option<NaiveDate>,
    /// Tables 4, 5, 6A and 6B: invoices that are reported one by one, with what is taxed on them.
    pub invoices: Vec<GstDocument>,
    /// Table 7: all other taxed supplies by place and rate, minus their credit notes.
    pub others: Vec<GstOthers>,
    /// Table 8: goods without tax, minus their credit notes.
    pub nil: Vec<GstNil>,
    /// Table 9B: credit notes to registered recipients, and those for invoices of tables 5 and 6A.
    pub credit_notes: Vec<GstDocument>,
    /// Table 12: all supplies by HSN code and rate, minus credit notes.
    pub hsn: Vec<GstHsn>,
    /// Table 13: the document numbers that were issued.
    pub documents: Vec<GstSeries>,
}

any_of! {
    /// All tables, or the rows of one section.
    GstAnswer: GstReport, GstSection
}

/// One section: its period and its rows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by utoipa only")]
struct GstSection {
    /// Null when the period has no start.
    from: Option<NaiveDate>,
    /// Null when the period has no end.
    to: Option<NaiveDate>,
    data: Vec<GstRow>,
}

any_of! {
    /// A row of one section.
    GstRow: GstDocument, GstOthers, GstNil, GstHsn, GstSeries
}

/// One rate of one invoice or credit note.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GstDocument {
    /// For an invoice `B2B` (registered recipient), `B2CL` (another state, above ₹1,00,000) or `EXP` (abroad). For a credit note
    /// `CDNR` (registered recipient) or `CDNUR`.
    pub kind: String,
    pub number: String,
    pub issued_on: NaiveDate,
    pub recipient_gstin: Option<String>,
    pub recipient_name: Option<String>,
    /// For a credit note of kind `CDNUR`: `B2CL`, `EXPWP` (exports with payment of tax) or `EXPWOP` (without).
    pub unregistered_type: Option<String>,
    /// `R`; to a special economic zone `SEWP` (with payment of tax) or `SEWOP` (without); abroad `WPAY` or `WOPAY`.
    pub supply_type: String,
    /// For a credit note: the number of the invoice.
    pub corrects: Option<String>,
    pub corrected_issued_on: Option<NaiveDate>,
    pub place_of_supply: String,
    /// Always `N`.
    pub reverse_charge: String,
    /// The total of the whole document.
    pub total_minor: i64,
    /// Per cent; null when no tax applies.
    pub gst_rate: Option<f64>,
    pub taxable_minor: i64,
    pub igst_minor: i64,
    pub cgst_minor: i64,
    pub sgst_minor: i64,
}

/// Supplies to unregistered recipients in one place at one rate. Negative when credit notes exceed the sales.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GstOthers {
    pub place_of_supply: String,
    pub gst_rate: Option<f64>,
    pub taxable_minor: i64,
    pub igst_minor: i64,
    pub cgst_minor: i64,
    pub sgst_minor: i64,
}

/// Goods that are not taxed, by where they went and to whom. Negative when credit notes exceed the sales.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GstNil {
    /// `INTRB2B`, `INTRAB2B`, `INTRB2C` or `INTRAB2C`: between states or within one, to registered recipients or others.
    pub supply_type: String,
    /// At a rate of 0.
    pub nil_minor: i64,
}

/// One HSN code at one rate.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GstHsn {
    /// `B2B` or `B2C`: the tax portal has a table for each.
    pub recipients: String,
    pub hsn: Option<String>,
    /// The unit quantity code, always `NOS` (pieces).
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

/// The document numbers of one series.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GstSeries {
    /// `invoice` or `credit_note`.
    pub kind: String,
    pub from_number: String,
    pub to_number: String,
    pub issued: i64,
    /// Always 0: an issued document is never cancelled, and its number is never used again.
    pub cancelled: i64,
}

const INVOICE: &str = "invoice";
const CREDIT_NOTE: &str = "credit_note";

/// One of the tables.
#[derive(Debug, Clone, Copy)]
enum Section {
    Invoices,
    Others,
    CreditNotes,
    Nil,
    Hsn,
    Documents,
}

impl Section {
    const EXPECTED: &str = "must be one of invoices, others, credit_notes, nil, hsn, documents; CSV needs one";

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "invoices" => Self::Invoices,
            "others" => Self::Others,
            "credit_notes" => Self::CreditNotes,
            "nil" => Self::Nil,
            "hsn" => Self::Hsn,
            "documents" => Self::Documents,
            _ => return None,
        })
    }
}

/// The shop's figures for GSTR-1. Sales in other currencies than INR are not included. Without a period: this month so far.
#[utoipa::path(
    get,
    path = "/reports/gst",
    tag = "Reports",
    params(GstParams),
    responses(
        (status = 200, description = "All tables, or the one of `section`; with `format=csv` as CSV.", content((GstAnswer = "application/json"), (String = "text/csv"))),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn gst_report(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<GstParams>,
) -> Result<Response, ApiError> {
    let GstParams { from, to, section, format, consistency } = params;
    let mut request = api.begin_report(&headers, [&from, &to, &format], DefaultPeriod::ThisMonth);
    let table = request.parameters.parse("section", section.as_deref(), Section::EXPECTED, Section::parse);
    if section.is_none() && request.format == Format::Csv {
        request.parameters.reject("section", Section::EXPECTED);
    }
    let (period, format) = api.accept_report(&headers, request, consistency.as_deref()).await?;
    let mut tx = begin_reading(&api.reports).await?;
    let (conn, first, last) = (&mut *tx, period.first(), period.last());
    match table {
        Some(Section::Invoices) => {
            respond("gst-invoices", period, format, store::one_by_one(conn, INVOICE, first, last).await?)
        }
        Some(Section::Others) => respond("gst-others", period, format, store::others(conn, first, last).await?),
        Some(Section::CreditNotes) => {
            respond("gst-credit-notes", period, format, store::one_by_one(conn, CREDIT_NOTE, first, last).await?)
        }
        Some(Section::Nil) => respond("gst-nil", period, format, store::nil(conn, first, last).await?),
        Some(Section::Hsn) => respond("gst-hsn", period, format, store::hsn(conn, first, last).await?),
        Some(Section::Documents) => {
            respond("gst-documents", period, format, store::documents(conn, first, last).await?)
        }
        None => {
            let report = GstReport {
                from: period.from,
                to: period.to,
                invoices: store::one_by_one(conn, INVOICE, first, last).await?,
                others: store::others(conn, first, last).await?,
                credit_notes: store::one_by_one(conn, CREDIT_NOTE, first, last).await?,
                nil: store::nil(conn, first, last).await?,
                hsn: store::hsn(conn, first, last).await?,
                documents: store::documents(conn, first, last).await?,
            };
            Ok(json(serde_json::to_string(&report).map_err(ApiError::internal)?).into_response())
        }
    }
}

/// The query parameters of the file; others are refused.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Gstr1Params {
    /// The month, `YYYY-MM`.
    #[param(required = true, pattern = "^[0-9]{4}-(0[1-9]|1[0-2])$", example = "2026-11")]
    month: Option<String>,
    /// Consistency tokens, as in all other queries.
    consistency: Option<String>,
}

/// GSTR-1 of a month as the GST portal reads it, in rupees. Upload it there.
#[utoipa::path(
    get,
    path = "/reports/gst/gstr1.json",
    tag = "Reports",
    params(Gstr1Params),
    responses(
        (status = 200, description = "`gstin`, `fp` and the tables `b2b`, `b2cl`, `b2cs`, `exp`, `cdnr`, `cdnur`, `nil`, `hsn` and `doc_issue`. A table that would be empty is left out.", body = serde_json::Value),
        (status = 404, description = "`NO_TAX_DOCUMENTS`: a registered shop has issued nothing until then", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn gstr1_file(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<Gstr1Params>,
) -> Result<Response, ApiError> {
    let tables = month_of(&api, &headers, &params).await?;
    Ok(json(tables.file().to_string()).into_response())
}

/// GSTR-1 of a month as the returns offline tool imports it
///
/// One CSV file for each of its sheets: `b2b`, `b2cl`, `b2cs`, `cdnr`, `cdnur`, `exp`, `exemp`, `hsn_b2b`, `hsn_b2c` and `docs`. In
/// rupees.
#[utoipa::path(
    get,
    path = "/reports/gst/gstr1/{sheet}",
    tag = "Reports",
    params(("sheet" = String, Path, example = "b2b.csv"), Gstr1Params),
    responses(
        (status = 200, description = "The sheet, with a header also where it has no rows.", content_type = "text/csv", body = String),
        (status = 404, description = "`NO_TAX_DOCUMENTS`: a registered shop has issued nothing until then; `NO_SUCH_SHEET`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn gstr1_sheet(
    State(api): State<Arc<Api>>,
    Path(file): Path<String>,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<Gstr1Params>,
) -> Result<Response, ApiError> {
    let known = file.strip_suffix(".csv").and_then(|name| Sheet::ALL.iter().find(|(known, _)| *known == name));
    let Some((name, sheet)) = known else {
        let names: Vec<_> = Sheet::ALL.iter().map(|(name, _)| format!("{name}.csv")).collect();
        return Err(ApiError::not_found("NO_SUCH_SHEET", format!("the sheets are {}", names.join(", "))));
    };
    let tables = month_of(&api, &headers, &params).await?;
    let (columns, rows) = sheet.of(&tables);
    let body = super::csv::table(columns, &rows).map_err(ApiError::internal)?;
    csv_file(&format!("gstr1-{name}-{}", tables.month.format("%Y-%m")), body)
}

/// The tables of the month that a client asks for.
async fn month_of(api: &Api, headers: &HeaderMap, params: &Gstr1Params) -> Result<portal::Tables, ApiError> {
    let first = params.month.as_deref().and_then(|month| format!("{month}-01").parse::<NaiveDate>().ok());
    let last = first.and_then(|first| first.checked_add_months(Months::new(1))?.pred_opt());
    let Some((first, last)) = first.zip(last) else {
        return Err(ApiError::invalid_field("month", "must be a month like 2026-11"));
    };
    if first > day_in_india(api.clock.now()) {
        return Err(ApiError::invalid_field("month", "must not be in the future"));
    }
    api.wait_for(headers, params.consistency.as_deref(), Scope::Documents).await?;
    let mut tx = begin_reading(&api.reports).await?;
    let conn = &mut *tx;
    let Some(gstin) = store::supplier(conn, last).await? else {
        return Err(ApiError::not_found("NO_TAX_DOCUMENTS", "no document of a registered shop was issued until then"));
    };
    Ok(portal::Tables {
        gstin,
        month: first,
        invoices: store::one_by_one(conn, INVOICE, first, last).await?,
        credit_notes: store::one_by_one(conn, CREDIT_NOTE, first, last).await?,
        others: store::others(conn, first, last).await?,
        nil: store::nil(conn, first, last).await?,
        hsn: store::hsn(conn, first, last).await?,
        documents: store::documents(conn, first, last).await?,
    })
}
