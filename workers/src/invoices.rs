//! `order.shipped` → invoice number, PDF in the store, `invoice.generated`.

use contracts::{EntityType, EventType, InvoiceDocument, OrderDocument, StateChanged};
use messaging::inbox::Job;
use messaging::outbox::{self, NewEvent};
use messaging::worker::{Completed, Failure, Handler};
use runtime::database::{in_transaction, limited};
use runtime::{Clock, Ids, faults};
use sqlx::PgPool;
use storage::InvoiceStore;

use crate::change;
use crate::invoice_template::{InvoiceView, invoice_html, summary};
use crate::press::{Kept, Press};
use crate::store::{self, InvoiceRow};

/// Makes invoices.
#[derive(Debug)]
pub(crate) struct Invoices {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) press: Press,
    pub(crate) prefix: String,
    pub(crate) return_window_days: u32,
}

impl Handler for Invoices {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let order = change::snapshot::<OrderDocument>(job)?;
        let row = self.number(&order).await?;
        faults::point("invoice.number.committed");
        let view = InvoiceView {
            order: &order,
            invoice_number: &row.invoice_number,
            issued_at: row.issued_at,
            return_window_days: self.return_window_days,
        };
        let pdf = self.press.print(invoice_html(&view, &self.press.brand), row.issued_at).await?;
        faults::point("invoice.rendered");
        let kept = self.press.keep(InvoiceStore::invoice_name(&order.order_number), pdf).await?;
        faults::point("invoice.stored");
        limited(self.complete(job, order, row, kept)).await
    }
}

impl Invoices {
    /// The order's invoice row, with its number: taken in the transaction that makes the row, and found again by
    /// every later attempt. It keeps the order as it is invoiced, for the credit notes that may follow.
    async fn number(&self, order: &OrderDocument) -> Result<InvoiceRow, Failure> {
        let (order_id, invoice_id, at) = (order.id, self.ids.next(), self.clock.now());
        let document = serde_json::to_value(order).map_err(|error| Failure::Dead(error.to_string()))?;
        let (press, prefix) = (self.press.clone(), self.prefix.clone());
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::find_invoice(conn, order_id).await? {
                    return Ok(row);
                }
                let number = press.next_number(conn, &prefix, at).await?;
                Ok(store::insert_invoice(conn, invoice_id, order_id, &number, at, &document).await?)
            })
        })
        .await
    }

    /// One commit: the invoice is stored, the job is done, the event is out.
    async fn complete(
        &self,
        job: &Job,
        order: OrderDocument,
        row: InvoiceRow,
        kept: Kept,
    ) -> Result<Completed, Failure> {
        let at = self.clock.now();
        let tax = summary::of_order(&order);
        let snapshot = InvoiceDocument {
            id: row.id,
            order_id: order.id,
            order_number: order.order_number,
            invoice_number: row.invoice_number,
            customer_id: order.customer_id,
            customer_email: order.customer_email,
            currency: order.currency,
            total_minor: order.total_minor,
            path: kept.path,
            size_bytes: kept.size_bytes,
            sha256: kept.sha256,
            issued_at: row.issued_at,
            generated_at: at,
            carrier: order.carrier,
            tracking_number: order.tracking_number,
            tax,
        };
        let headers = change::headers(job);
        let transition = change::by_worker(job, EntityType::Invoice, row.id, 1, None, "GENERATED", at);
        let event_id = self.ids.next();
        let mut tx = self.pool.begin().await?;
        let result = serde_json::json!({ "invoice_number": snapshot.invoice_number, "path": snapshot.path });
        let completed = Completed::mark(&mut tx, job, &result).await?;
        if store::mark_invoice_stored(&mut tx, &snapshot).await? {
            let change = StateChanged { snapshot, transition };
            let event =
                NewEvent { event_id, event_type: EventType::InvoiceGenerated, headers: &headers, change: &change };
            outbox::record(&mut tx, &event).await?;
        }
        faults::point("invoice.completion.ready");
        tx.commit().await?;
        faults::point("invoice.completion.committed");
        tracing::info!(result = %result, "invoice stored");
        Ok(completed)
    }
}
