//! What can be exported: lists, which are read page by page, and figures, each of which is one statement.

use access::Caller;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;

use super::error::ExportError;
use super::file::Sheet;
use super::issued::{CreditNoteRow, InvoiceRow, TaxLineRow};
use super::list::{list, read_in};
use super::making::Making;
use super::rows::{OrderRow, RefundRow, ReturnRow};
use crate::api::reports::{self, Period};

/// What an export has: one row per order, return, refund, invoice, credit note or line of one; or the figures of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ExportKind {
    /// By the day on which they were placed.
    Orders,
    /// By the day on which they were requested.
    Returns,
    /// By the day on which they were made.
    Refunds,
    /// By the day of issue.
    Invoices,
    /// By the day of issue.
    CreditNotes,
    /// What invoices and credit notes tax, by HSN code and rate; by the day of issue.
    TaxLines,
    /// As `GET /reports/sales/daily`.
    SalesDaily,
    /// As `GET /reports/returns`.
    ReturnsBySku,
    /// As `GET /reports/returns?by=reason`.
    ReturnsByReason,
    /// As `GET /reports/lead-times`.
    LeadTimes,
}

impl ExportKind {
    pub(super) const ALL: [Self; 10] = [
        Self::Orders,
        Self::Returns,
        Self::Refunds,
        Self::Invoices,
        Self::CreditNotes,
        Self::TaxLines,
        Self::SalesDaily,
        Self::ReturnsBySku,
        Self::ReturnsByReason,
        Self::LeadTimes,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Returns => "returns",
            Self::Refunds => "refunds",
            Self::Invoices => "invoices",
            Self::CreditNotes => "credit_notes",
            Self::TaxLines => "tax_lines",
            Self::SalesDaily => "sales_daily",
            Self::ReturnsBySku => "returns_by_sku",
            Self::ReturnsByReason => "returns_by_reason",
            Self::LeadTimes => "lead_times",
        }
    }

    /// The route that shows the same page by page.
    pub(super) fn route(self) -> &'static str {
        match self {
            Self::Orders => "/api/v1/orders",
            Self::Returns => "/api/v1/returns",
            Self::Refunds => "/api/v1/refunds",
            Self::Invoices => "/api/v1/invoices",
            Self::CreditNotes => "/api/v1/credit-notes",
            Self::TaxLines => "/api/v1/reports/gst",
            Self::SalesDaily => "/api/v1/reports/sales/daily",
            Self::ReturnsBySku | Self::ReturnsByReason => "/api/v1/reports/returns",
            Self::LeadTimes => "/api/v1/reports/lead-times",
        }
    }

    pub(super) fn is_for(self, caller: &Caller) -> bool {
        caller.owner().is_none() && caller.may("GET", self.route())
    }

    /// Writes all rows of a period.
    pub(super) async fn write(
        self,
        read: &PgPool,
        period: Period,
        sheet: Sheet,
        making: &mut Making<'_>,
    ) -> Result<Sheet, ExportError> {
        match self {
            Self::Orders => list::<OrderRow>(read, period, sheet, making).await,
            Self::Returns => list::<ReturnRow>(read, period, sheet, making).await,
            Self::Refunds => list::<RefundRow>(read, period, sheet, making).await,
            Self::Invoices => list::<InvoiceRow>(read, period, sheet, making).await,
            Self::CreditNotes => list::<CreditNoteRow>(read, period, sheet, making).await,
            Self::TaxLines => list::<TaxLineRow>(read, period, sheet, making).await,
            Self::SalesDaily => {
                let rows = read_in(read, async |conn| reports::sales::by_day(conn, period).await).await?;
                making.write(sheet, rows).await
            }
            Self::ReturnsBySku => {
                let rows = read_in(read, async |conn| reports::returns::skus(conn, period, false).await).await?;
                making.write(sheet, rows).await
            }
            Self::ReturnsByReason => {
                let rows = read_in(read, async |conn| reports::returns::reasons(conn, period, false).await).await?;
                making.write(sheet, rows).await
            }
            Self::LeadTimes => {
                let rows = read_in(read, async |conn| reports::lead_times::times(conn, period).await).await?;
                making.write(sheet, rows).await
            }
        }
    }
}
