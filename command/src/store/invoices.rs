//! What the command service reads of the workers' books: the number of an order's invoice.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// The number of an invoice and its date.
#[derive(Debug)]
pub(crate) struct InvoiceNumber {
    pub(crate) number: String,
    pub(crate) issued_at: DateTime<Utc>,
    /// It is e-mailed once it is registered at the portal.
    pub(crate) awaits_registration: bool,
}

/// `None`: the order has no invoice yet. Its number and date never change.
pub(crate) async fn invoice_number(conn: &mut PgConnection, order_id: Uuid) -> sqlx::Result<Option<InvoiceNumber>> {
    sqlx::query_as!(
        InvoiceNumber,
        r#"select number as "number!", issued_at as "issued_at!", awaits_registration as "awaits_registration!" from work.invoice_number($1)"#,
        order_id
    )
    .fetch_optional(conn)
    .await
}
