//! The SQL over `work.invoices`: one row per order.

use chrono::{DateTime, Utc};
use contracts::{InvoiceDocument, OrderDocument};
use messaging::snapshots::Current;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// An invoice's number. It exists before the PDF does.
#[derive(Debug, Clone)]
pub(super) struct InvoiceRow {
    pub(super) id: Uuid,
    pub(super) invoice_number: String,
    pub(super) issued_at: DateTime<Utc>,
    pub(super) awaits_registration: bool,
}

pub(super) async fn find(conn: &mut PgConnection, order_id: Uuid) -> sqlx::Result<Option<InvoiceRow>> {
    sqlx::query_as!(
        InvoiceRow,
        "select id, invoice_number, issued_at, awaits_registration from work.invoices where order_id = $1",
        order_id
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    order_id: Uuid,
    invoice_number: &str,
    at: DateTime<Utc>,
    order_document: &Value,
    awaits_registration: bool,
) -> sqlx::Result<InvoiceRow> {
    sqlx::query_as!(
        InvoiceRow,
        r#"
        insert into work.invoices (id, order_id, invoice_number, issued_at, order_document, awaits_registration)
        values ($1, $2, $3, $4, $5, $6)
        returning id, invoice_number, issued_at, awaits_registration
        "#,
        id,
        order_id,
        invoice_number,
        at,
        order_document,
        awaits_registration,
    )
    .fetch_one(conn)
    .await
}

/// Records the stored PDF. `false`: another attempt recorded it before.
pub(super) async fn mark_stored(conn: &mut PgConnection, invoice: &InvoiceDocument) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
        r#"
        update work.invoices set path = $1, size_bytes = $2, sha256 = $3, stored_at = $4, document = $5
        where id = $6 and stored_at is null
        "#,
        invoice.path,
        invoice.size_bytes,
        invoice.sha256,
        invoice.generated_at,
        Json(invoice) as _,
        invoice.id,
    )
    .execute(conn)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// An invoice whose PDF is stored.
#[derive(Debug)]
pub(super) struct StoredInvoice {
    pub(super) order: Json<OrderDocument>,
    pub(super) invoice: Json<InvoiceDocument>,
    /// Whether the registration of this version, and none later, may become the next edition.
    pub(super) is_last: bool,
}

/// Announces the registration that an order got with this version, unless a later one is announced already. From then on no
/// earlier one becomes an edition. `None`: the invoice is not made yet.
pub(super) async fn announce_registration(
    conn: &mut PgConnection,
    order_id: Uuid,
    order_version: i32,
) -> sqlx::Result<Option<StoredInvoice>> {
    sqlx::query_as!(
        StoredInvoice,
        r#"
        update work.invoices
        set registrations = case when $1 > all (registrations) then registrations || $1 else registrations end
        where order_id = $2 and document is not null
        returning order_document as "order: _", document as "invoice!: _", $1 >= all (registrations) as "is_last!"
        "#,
        order_version,
        order_id,
    )
    .fetch_optional(conn)
    .await
}

/// Records another edition. `false`: it is recorded already, or a later registration is announced.
pub(super) async fn mark_registered(
    conn: &mut PgConnection,
    invoice: &InvoiceDocument,
    order_version: i32,
) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
        r#"
        update work.invoices
        set path = $1, size_bytes = $2, sha256 = $3, document = $4, edition = $5, registered_version = $6,
            awaits_registration = false
        where id = $7 and edition = $5 - 1 and $6 >= all (registrations)
        "#,
        invoice.path,
        invoice.size_bytes,
        invoice.sha256,
        Json(invoice) as _,
        invoice.edition,
        order_version,
        invoice.id,
    )
    .execute(conn)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// The invoice in its last edition. `None`: its PDF is not stored yet.
pub(crate) async fn stored_invoice(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Option<InvoiceDocument>> {
    let stored = sqlx::query_scalar!(
        r#"select document as "document!: Json<InvoiceDocument>" from work.invoices where order_id = $1 and document is not null"#,
        order_id,
    );
    Ok(stored.fetch_optional(pool).await?.map(|Json(invoice)| invoice))
}

/// An invoice with its order, as it was at the time of invoicing.
#[derive(Debug)]
pub(crate) struct InvoicedOrder {
    pub(crate) invoice_number: String,
    pub(crate) issued_at: DateTime<Utc>,
    pub(crate) order_document: Value,
}

/// `None`: the order has no invoice yet.
pub(crate) async fn invoiced_order(pool: &PgPool, order_id: Uuid) -> sqlx::Result<Option<InvoicedOrder>> {
    sqlx::query_as!(
        InvoicedOrder,
        "select invoice_number, issued_at, order_document from work.invoices where order_id = $1",
        order_id
    )
    .fetch_optional(pool)
    .await
}

/// The invoices after the given id, in the order of their ids, as their last events show them. A number without a PDF has
/// no event yet and is left out.
pub(crate) async fn page(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    sqlx::query_as!(
        Current,
        r#"
        select id, edition + erasures as "version!", document as "payload!: _"
        from work.invoices where id > $1 and document is not null
        order by id limit $2 for share
        "#,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}
