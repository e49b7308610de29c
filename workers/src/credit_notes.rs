//! `return.completed` → credit note number, PDF in the file store, `credit_note.generated`.

mod template;
mod store;

use std::time::Duration;

use contracts::{CreditNoteDocument, EntityType, EventType, OrderDocument, ReturnDocument, StateChanged};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::worker::{Completed, Effect, Failure, Handler};
use runtime::database::{in_transaction, limited};
use runtime::{Clock, Ids, faults};
use serde::Deserialize;
use sqlx::{PgConnection, PgPool};
use storage::InvoiceStore;

use crate::documents::{DocumentIssuer, StoredFile, tax_of_return};
use crate::events::{self, Caused};
use crate::invoices::{InvoicedOrder, invoiced_order};

pub(crate) use store::page;

use store::CreditNoteRow;
use template::{CreditNoteView, credit_note_html};

/// How long an attempt waits for the invoice before the job goes back to the queue, and how often it looks.
const INVOICE_PATIENCE: Duration = Duration::from_secs(5);
const INVOICE_POLL: Duration = Duration::from_millis(200);
/// How long a credit note is tried again without an invoice. The queue of the invoices may wait for Chromium for hours.
const INVOICE_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// Issues credit notes.
#[derive(Debug)]
pub(crate) struct CreditNotes {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) issuer: DocumentIssuer,
    pub(crate) prefix: String,
}

impl Handler for CreditNotes {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let returned = events::snapshot::<ReturnDocument>(job)?;
        if returned.items.iter().all(|item| item.refunded_quantity() == 0) {
            return Ok(Completed::new(serde_json::json!({ "skipped": "nothing was accepted" })));
        }
        let invoiced = self.invoiced(&returned).await?;
        let order = OrderDocument::deserialize(&invoiced.order_document)
            .map_err(|error| Failure::Dead(format!("undecodable order on the invoice: {error}")))?;
        let row = self.number(&returned).await?;
        faults::point("credit_note.number.committed");
        let view = CreditNoteView {
            order: &order,
            returned: &returned,
            number: &row.credit_note_number,
            issued_at: row.issued_at,
            invoice_number: &invoiced.invoice_number,
            invoiced_at: invoiced.issued_at,
        };
        let pdf = self.issuer.print(credit_note_html(&view, &self.issuer.brand), row.issued_at).await?;
        let file = self.issuer.store(InvoiceStore::credit_note_name(&row.credit_note_number), pdf).await?;
        faults::point("credit_note.stored");
        let snapshot = self.document(&order, returned, invoiced, row, file);
        Ok(self.completed(job, snapshot))
    }
}

impl CreditNotes {
    /// The invoice that the credit note corrects. Its number is taken when the order is shipped, usually long before a
    /// return. Where an order is shipped and returned within seconds, this waits for it.
    async fn invoiced(&self, returned: &ReturnDocument) -> Result<InvoicedOrder, Failure> {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(invoiced) = limited(invoiced_order(&self.pool, returned.order_id)).await? {
                return Ok(invoiced);
            }
            if started.elapsed() > INVOICE_PATIENCE {
                let why = format!("the order {} has no invoice yet", returned.order_id);
                return Err(Failure::NotYet { why, within: INVOICE_WITHIN });
            }
            tokio::time::sleep(INVOICE_POLL).await;
        }
    }

    /// The return's credit note row with its number. The first attempt takes the number in the transaction that inserts
    /// the row; later attempts find the row.
    async fn number(&self, returned: &ReturnDocument) -> Result<CreditNoteRow, Failure> {
        let (return_id, id, at) = (returned.id, self.ids.next(), self.clock.now());
        let (issuer, prefix) = (self.issuer.clone(), self.prefix.clone());
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::find(conn, return_id).await? {
                    return Ok(row);
                }
                let number = issuer.next_number(conn, &prefix, at).await?;
                Ok(store::insert(conn, id, return_id, &number, at).await?)
            })
        })
        .await
    }

    fn document(
        &self,
        order: &OrderDocument,
        returned: ReturnDocument,
        invoiced: InvoicedOrder,
        row: CreditNoteRow,
        file: StoredFile,
    ) -> CreditNoteDocument {
        CreditNoteDocument {
            id: row.id,
            return_id: returned.id,
            order_id: returned.order_id,
            tax: tax_of_return(order, &returned),
            order_number: returned.order_number,
            credit_note_number: row.credit_note_number,
            invoice_number: invoiced.invoice_number,
            invoiced_at: Some(invoiced.issued_at),
            customer_id: returned.customer_id,
            customer_email: returned.customer_email,
            currency: returned.currency,
            total_minor: returned.refund_amount_minor,
            path: file.path,
            size_bytes: file.size_bytes,
            sha256: file.sha256,
            issued_at: row.issued_at,
            generated_at: self.clock.now(),
        }
    }

    /// What the commit of the job writes: the credit note is recorded, and the event is in the outbox.
    fn completed(&self, job: &Job, snapshot: CreditNoteDocument) -> Completed {
        let result = serde_json::json!({ "credit_note_number": snapshot.credit_note_number, "path": snapshot.path });
        tracing::info!(result = %result, "credit note stored");
        let (id, at) = (snapshot.id, snapshot.generated_at);
        let transition = events::transition(job, EntityType::CreditNote, id, 1, None, "GENERATED", at);
        let change = StateChanged { snapshot, transition };
        Completed::with(
            result,
            Issued(Caused { event_id: self.ids.next(), traceparent: events::traceparent(job), change }),
        )
    }
}

/// A credit note whose PDF is in the store.
#[derive(Debug)]
struct Issued(Caused<CreditNoteDocument>);

impl Effect for Issued {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        let Caused { event_id, traceparent, change } = &self.0;
        async move {
            if store::mark_stored(conn, &change.snapshot).await? {
                events::record(conn, *event_id, EventType::CreditNoteGenerated, traceparent.as_deref(), change).await?;
            }
            Ok(())
        }
        .boxed()
    }
}
