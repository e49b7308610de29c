//! The rows of invoices and credit notes, and of what they tax.

use chrono::NaiveDate;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::list::{PAGE, Place, Row};

/// An invoice or a credit note.
#[derive(Debug, Default, Serialize)]
struct IssuedRow {
    number: String,
    issued_on: NaiveDate,
    order_number: String,
    order_id: Uuid,
    /// Of a credit note: the number of the invoice.
    corrects: Option<String>,
    supply: Option<String>,
    place_of_supply: Option<String>,
    recipient_gstin: Option<String>,
    currency: String,
    taxable_minor: i64,
    cgst_minor: i64,
    sgst_minor: i64,
    igst_minor: i64,
    round_off_minor: i64,
    total_minor: i64,
    document_id: Uuid,
}

impl IssuedRow {
    fn place(&self) -> Place {
        Place { day: self.issued_on, id: self.document_id, line_no: 0 }
    }

    async fn page(conn: &mut PgConnection, kind: &str, after: Place, last: NaiveDate) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            r#"
            with page as (
                select * from read.issued_documents
                where kind = $5 and issued_on between $1 and $3 and (issued_on, id) > ($1, $2)
                order by issued_on, id limit $4
            )
            select page.number as "number!", page.issued_on as "issued_on!", page.order_number as "order_number!",
                   page.order_id as "order_id!", page.corrects, page.supply, page.place_of_supply, page.recipient_gstin,
                   page.currency as "currency!", taxed.taxable as "taxable_minor!", taxed.cgst as "cgst_minor!",
                   taxed.sgst as "sgst_minor!", taxed.igst as "igst_minor!", taxed.round_off as "round_off_minor!",
                   page.total_minor as "total_minor!", page.id as "document_id!"
            from page cross join lateral (
                select coalesce(sum(taxable_minor), 0)::bigint as taxable, coalesce(sum(cgst_minor), 0)::bigint as cgst,
                       coalesce(sum(sgst_minor), 0)::bigint as sgst, coalesce(sum(igst_minor), 0)::bigint as igst,
                       coalesce(sum(round_off_minor), 0)::bigint as round_off
                from read.issued_lines where document_id = page.id
            ) as taxed
            order by page.issued_on, page.id
            "#,
            after.day,
            after.id,
            last,
            PAGE,
            kind,
        )
        .fetch_all(conn)
        .await
    }
}

/// A row of one of the two lists.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Issued<const IS_CREDIT_NOTE: bool>(IssuedRow);

pub(super) type InvoiceRow = Issued<false>;
pub(super) type CreditNoteRow = Issued<true>;

impl<const IS_CREDIT_NOTE: bool> Row for Issued<IS_CREDIT_NOTE> {
    fn place(&self) -> Place {
        self.0.place()
    }

    async fn page(conn: &mut PgConnection, after: Place, last: NaiveDate) -> sqlx::Result<Vec<Self>> {
        let kind = if IS_CREDIT_NOTE { "credit_note" } else { "invoice" };
        Ok(IssuedRow::page(conn, kind, after, last).await?.into_iter().map(Self).collect())
    }
}

#[derive(Debug, Default, Serialize)]
pub(super) struct TaxLineRow {
    number: String,
    kind: String,
    issued_on: NaiveDate,
    order_number: String,
    place_of_supply: Option<String>,
    recipient_gstin: Option<String>,
    hsn: Option<String>,
    /// Per cent.
    gst_rate: Option<f64>,
    quantity: i64,
    currency: String,
    taxable_minor: i64,
    cgst_minor: i64,
    sgst_minor: i64,
    igst_minor: i64,
    round_off_minor: i64,
    total_minor: i64,
    document_id: Uuid,
    line_no: i32,
}

impl Row for TaxLineRow {
    fn place(&self) -> Place {
        Place { day: self.issued_on, id: self.document_id, line_no: self.line_no }
    }

    async fn page(conn: &mut PgConnection, after: Place, last: NaiveDate) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as!(
            Self,
            r#"
            with page as (
                select * from read.issued_lines
                where issued_on between $1 and $4 and (issued_on, document_id, line_no) > ($1, $2, $3)
                order by issued_on, document_id, line_no limit $5
            )
            select document.number, page.kind as "kind!", page.issued_on as "issued_on!", document.order_number, page.place_of_supply,
                   document.recipient_gstin, page.hsn, page.gst_rate, page.quantity as "quantity!", page.currency as "currency!",
                   page.taxable_minor as "taxable_minor!", page.cgst_minor as "cgst_minor!", page.sgst_minor as "sgst_minor!",
                   page.igst_minor as "igst_minor!", page.round_off_minor as "round_off_minor!", page.total_minor as "total_minor!",
                   page.document_id as "document_id!", page.line_no as "line_no!"
            from page join read.issued_documents as document on document.id = page.document_id
            order by page.issued_on, page.document_id, page.line_no
            "#,
            after.day,
            after.id,
            after.line_no,
            last,
            PAGE,
        )
        .fetch_all(conn)
        .await
    }
}
