//! The SQL over the `work` schema.

use chrono::{DateTime, Utc};
use contracts::{CreditNoteDocument, InvoiceDocument, RefundDocument};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// An invoice's number, before and after its PDF.
#[derive(Debug, Clone)]
pub(crate) struct InvoiceRow {
    pub(crate) id: Uuid,
    pub(crate) invoice_number: String,
    pub(crate) issued_at: DateTime<Utc>,
}

pub(crate) async fn find_invoice(conn: &mut PgConnection, order_id: Uuid) -> sqlx::Result<Option<InvoiceRow>> {
    sqlx::query_as!(InvoiceRow, "select id, invoice_number, issued_at from work.invoices where order_id = $1", order_id)
        .fetch_optional(conn)
        .await
}

/// The next number of a series; the series stays locked until the caller's transaction ends.
pub(crate) async fn next_in_series(conn: &mut PgConnection, series: &str) -> sqlx::Result<i32> {
    sqlx::query_scalar!(
        r#"
        insert into work.document_series as existing (series, last_number) values ($1, 1)
        on conflict (series) do update set last_number = existing.last_number + 1
        returning last_number
        "#,
        series
    )
    .fetch_one(conn)
    .await
}

pub(crate) async fn insert_invoice(
    conn: &mut PgConnection,
    id: Uuid,
    order_id: Uuid,
    invoice_number: &str,
    at: DateTime<Utc>,
    order_document: &Value,
) -> sqlx::Result<InvoiceRow> {
    sqlx::query_as!(
        InvoiceRow,
        r#"
        insert into work.invoices (id, order_id, invoice_number, issued_at, order_document) values ($1, $2, $3, $4, $5)
        returning id, invoice_number, issued_at
        "#,
        id,
        order_id,
        invoice_number,
        at,
        order_document,
    )
    .fetch_one(conn)
    .await
}

/// `false` when it was stored before.
pub(crate) async fn mark_invoice_stored(conn: &mut PgConnection, invoice: &InvoiceDocument) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
        r#"
        update work.invoices set path = $2, size_bytes = $3, sha256 = $4, stored_at = $5, document = $6
        where id = $1 and stored_at is null
        "#,
        invoice.id,
        invoice.path,
        invoice.size_bytes,
        invoice.sha256,
        invoice.generated_at,
        Json(invoice) as _,
    )
    .execute(conn)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// An order as it was invoiced.
#[derive(Debug)]
pub(crate) struct Invoiced {
    pub(crate) invoice_number: String,
    pub(crate) issued_at: DateTime<Utc>,
    pub(crate) order_document: Value,
}

pub(crate) async fn invoiced(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Option<Invoiced>> {
    sqlx::query_as!(
        Invoiced,
        r#"
        select invoice_number, issued_at, order_document as "order_document!"
        from work.invoices where order_id = $1 and order_document is not null
        "#,
        order_id
    )
    .fetch_optional(pool)
    .await
}

/// A credit note's number, before and after its PDF.
#[derive(Debug, Clone)]
pub(crate) struct CreditNoteRow {
    pub(crate) id: Uuid,
    pub(crate) credit_note_number: String,
    pub(crate) issued_at: DateTime<Utc>,
}

pub(crate) async fn find_credit_note(conn: &mut PgConnection, return_id: Uuid) -> sqlx::Result<Option<CreditNoteRow>> {
    sqlx::query_as!(
        CreditNoteRow,
        "select id, credit_note_number, issued_at from work.credit_notes where return_id = $1",
        return_id
    )
    .fetch_optional(conn)
    .await
}

pub(crate) async fn insert_credit_note(
    conn: &mut PgConnection,
    id: Uuid,
    return_id: Uuid,
    number: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<CreditNoteRow> {
    sqlx::query_as!(
        CreditNoteRow,
        r#"
        insert into work.credit_notes (id, return_id, credit_note_number, issued_at) values ($1, $2, $3, $4)
        returning id, credit_note_number, issued_at
        "#,
        id,
        return_id,
        number,
        at,
    )
    .fetch_one(conn)
    .await
}

/// `false` when it was stored before.
pub(crate) async fn mark_credit_note_stored(conn: &mut PgConnection, note: &CreditNoteDocument) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
        r#"
        update work.credit_notes set path = $2, size_bytes = $3, sha256 = $4, stored_at = $5, document = $6
        where id = $1 and stored_at is null
        "#,
        note.id,
        note.path,
        note.size_bytes,
        note.sha256,
        note.generated_at,
        Json(note) as _,
    )
    .execute(conn)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// A refund as it is known here; the gateway has the last word on whether it was paid.
#[derive(Debug, Clone)]
pub(crate) struct RefundRow {
    pub(crate) id: Uuid,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) status: String,
    pub(crate) version: i32,
    pub(crate) transaction_id: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

pub(crate) async fn lock_refund(conn: &mut PgConnection, return_id: Uuid) -> sqlx::Result<Option<RefundRow>> {
    sqlx::query_as!(
        RefundRow,
        r#"
        select id, amount_minor, currency, status, version, transaction_id, created_at
        from work.refunds where return_id = $1 for update
        "#,
        return_id
    )
    .fetch_optional(conn)
    .await
}

pub(crate) async fn insert_refund(
    conn: &mut PgConnection,
    id: Uuid,
    return_id: Uuid,
    order_id: Uuid,
    amount_minor: i64,
    currency: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<RefundRow> {
    sqlx::query_as!(
        RefundRow,
        r#"
        insert into work.refunds (id, return_id, order_id, amount_minor, currency, status, version, created_at)
        values ($1, $2, $3, $4, $5, 'PENDING', 1, $6)
        returning id, amount_minor, currency, status, version, transaction_id, created_at
        "#,
        id,
        return_id,
        order_id,
        amount_minor,
        currency,
        at,
    )
    .fetch_one(conn)
    .await
}

/// `false` when it was processed before.
pub(crate) async fn mark_refund_processed(
    conn: &mut PgConnection,
    id: Uuid,
    transaction_id: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        r#"
        update work.refunds set status = 'PROCESSED', version = version + 1, transaction_id = $2, processed_at = $3
        where id = $1 and status <> 'PROCESSED'
        "#,
        id,
        transaction_id,
        at,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

pub(crate) async fn mark_refund_failed(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update work.refunds set status = 'FAILED', version = version + 1 where id = $1", id)
        .execute(conn)
        .await?;
    Ok(())
}

/// What the refund's last event says, for whoever is to be told of it again.
pub(crate) async fn keep_refund_document(conn: &mut PgConnection, refund: &RefundDocument) -> sqlx::Result<()> {
    sqlx::query!("update work.refunds set document = $2 where id = $1", refund.id, Json(refund) as _)
        .execute(conn)
        .await?;
    Ok(())
}
