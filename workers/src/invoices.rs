//! `order.shipped` → invoice number, PDF in the file store, `invoice.generated`.

mod template;
mod store;

use contracts::{EntityType, EventType, InvoiceDocument, OrderDocument, StateChanged};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::worker::{Completed, Effect, Failure, Handler};
use runtime::database::in_transaction;
use runtime::{Clock, Ids, faults};
use sqlx::{PgConnection, PgPool};
use storage::InvoiceStore;

use crate::documents::{DocumentIssuer, StoredFile, tax_of_order};
use crate::events::{self, Caused};

pub(crate) use store::{InvoicedOrder, invoiced_order, page};
pub use template::{InvoiceView, invoice_html};

use store::InvoiceRow;

/// Issues invoices.
#[derive(Debug)]
pub(crate) struct Invoices {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) issuer: DocumentIssuer,
    pub(crate) prefix: String,
    pub(crate) return_window_days: u32,
}

impl Handler for Invoices {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let order = events::snapshot::<OrderDocument>(job)?.invoiced();
        let row = self.number(&order).await?;
        faults::point("invoice.number.committed");
        let view = InvoiceView {
            order: &order,
            invoice_number: &row.invoice_number,
            issued_at: row.issued_at,
            return_window_days: self.return_window_days,
        };
        let pdf = self.issuer.print(invoice_html(&view, &self.issuer.brand), row.issued_at).await?;
        faults::point("invoice.rendered");
        let file = self.issuer.store(InvoiceStore::invoice_name(order.order_number.as_str()), pdf).await?;
        faults::point("invoice.stored");
        Ok(self.completed(job, order, row, file))
    }
}

impl Invoices {
    /// The order's invoice row with its number. The first attempt takes the number in the transaction that inserts the
    /// row; later attempts find the row. The row keeps the order as it is invoiced, for credit notes that may follow.
    async fn number(&self, order: &OrderDocument) -> Result<InvoiceRow, Failure> {
        // The day of the invoice and its series are those of the supply, however long the job has waited.
        let at = order.shipped_at.unwrap_or_else(|| self.clock.now());
        let (order_id, invoice_id) = (order.id, self.ids.next());
        let document = serde_json::to_value(order).map_err(|error| Failure::Dead(error.to_string()))?;
        let (issuer, prefix) = (self.issuer.clone(), self.prefix.clone());
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::find(conn, order_id).await? {
                    return Ok(row);
                }
                let number = issuer.next_number(conn, &prefix, at).await?;
                Ok(store::insert(conn, invoice_id, order_id, &number, at, &document).await?)
            })
        })
        .await
    }

    /// What the commit of the job writes: the invoice is recorded, and the event is in the outbox.
    fn completed(&self, job: &Job, order: OrderDocument, row: InvoiceRow, file: StoredFile) -> Completed {
        let at = self.clock.now();
        let tax = tax_of_order(&order);
        let snapshot = InvoiceDocument {
            id: row.id,
            order_id: order.id,
            order_number: order.order_number,
            invoice_number: row.invoice_number,
            customer_id: order.customer_id,
            customer_email: order.customer_email,
            currency: order.currency,
            total_minor: order.total_minor,
            path: file.path,
            size_bytes: file.size_bytes,
            sha256: file.sha256,
            issued_at: row.issued_at,
            generated_at: at,
            carrier: order.carrier,
            tracking_number: order.tracking_number,
            tax,
        };
        let result = serde_json::json!({ "invoice_number": snapshot.invoice_number, "path": snapshot.path });
        tracing::info!(result = %result, "invoice stored");
        let transition = events::transition(job, EntityType::Invoice, row.id, 1, None, "GENERATED", at);
        let change = StateChanged { snapshot, transition };
        Completed::with(
            result,
            Issued(Caused { event_id: self.ids.next(), traceparent: events::traceparent(job), change }),
        )
    }
}

/// An invoice whose PDF is in the store.
#[derive(Debug)]
struct Issued(Caused<InvoiceDocument>);

impl Effect for Issued {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        let Caused { event_id, traceparent, change } = &self.0;
        async move {
            if store::mark_stored(conn, &change.snapshot).await? {
                events::record(conn, *event_id, EventType::InvoiceGenerated, traceparent.as_deref(), change).await?;
            }
            Ok(())
        }
        .boxed()
    }
}
