//! `return.completed`, or `refund.granted` after the invoice → credit note number, PDF in the file store, `credit_note.generated`.

mod template;
mod store;

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{
    CreditNoteDocument, EntityType, EventType, OrderDocument, RefundDocument, ReturnDocument, StateChanged,
    day_in_india, last_day_to_reduce_tax,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::worker::{Completed, Effect, Failure, Handler};
use runtime::database::{in_transaction, limited};
use runtime::{Clock, Ids, faults};
use serde::Deserialize;
use sqlx::{PgConnection, PgPool};
use storage::InvoiceStore;
use uuid::Uuid;

use crate::documents::{Credited, DocumentIssuer, StoredFile, tax_of_credit};
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
    /// Of those that reduce no tax.
    pub(crate) commercial_prefix: String,
}

impl Handler for CreditNotes {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let credited = match credited(job)? {
            Ok(credited) => credited,
            Err(why) => return Ok(Completed::new(serde_json::json!({ "skipped": why }))),
        };
        if credited.total_minor() == 0 {
            // A fee has kept all of it back.
            return Ok(Completed::new(serde_json::json!({ "skipped": "nothing is given back" })));
        }
        let invoiced = self.invoiced(credited.order_id()).await?;
        let mut order = OrderDocument::deserialize(&invoiced.order_document)
            .map_err(|error| Failure::Dead(format!("undecodable order on the invoice: {error}")))?;
        let is_late = |at: DateTime<Utc>| order.tax_terms.is_some() && is_late(invoiced.issued_at, at);
        let row = self.number(credited.id(), is_late).await?;
        faults::point("credit_note.number.committed");
        let is_late = is_late(row.issued_at);
        if is_late {
            order.tax_terms = None;
        }
        let view = CreditNoteView {
            order: &order,
            credited: &credited,
            number: &row.credit_note_number,
            issued_at: row.issued_at,
            invoice_number: &invoiced.invoice_number,
            invoiced_at: invoiced.issued_at,
            is_late,
        };
        let pdf = self.issuer.print(credit_note_html(&view, &self.issuer.brand), row.issued_at).await?;
        let file = self.issuer.store(InvoiceStore::credit_note_name(&row.credit_note_number), pdf).await?;
        faults::point("credit_note.stored");
        let snapshot = self.document(&order, &credited, invoiced, row, file);
        Ok(self.completed(job, snapshot))
    }
}

impl CreditNotes {
    /// The invoice that the credit note corrects. Its number is taken when the order is shipped, usually long before a
    /// return. Where an order is shipped and returned within seconds, this waits for it.
    async fn invoiced(&self, order_id: Uuid) -> Result<InvoicedOrder, Failure> {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(invoiced) = limited(invoiced_order(&self.pool, order_id)).await? {
                return Ok(invoiced);
            }
            if started.elapsed() > INVOICE_PATIENCE {
                let why = format!("the order {order_id} has no invoice yet");
                return Err(Failure::NotYet { why, within: INVOICE_WITHIN });
            }
            tokio::time::sleep(INVOICE_POLL).await;
        }
    }

    /// The credit note's row with its number. The first attempt takes the number in the transaction that inserts
    /// the row; later attempts find the row.
    async fn number(&self, source_id: Uuid, is_late: impl Fn(DateTime<Utc>) -> bool) -> Result<CreditNoteRow, Failure> {
        let (id, at) = (self.ids.next(), self.clock.now());
        let prefix = if is_late(at) { &self.commercial_prefix } else { &self.prefix };
        let (issuer, prefix) = (self.issuer.clone(), prefix.clone());
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::find(conn, source_id).await? {
                    return Ok(row);
                }
                let number = issuer.next_number(conn, &prefix, at).await?;
                Ok(store::insert(conn, id, source_id, &number, at).await?)
            })
        })
        .await
    }

    fn document(
        &self,
        order: &OrderDocument,
        credited: &Credited,
        invoiced: InvoicedOrder,
        row: CreditNoteRow,
        file: StoredFile,
    ) -> CreditNoteDocument {
        CreditNoteDocument {
            id: row.id,
            return_id: matches!(credited, Credited::Return(_)).then(|| credited.id()),
            refund_id: matches!(credited, Credited::Refund(_)).then(|| credited.id()),
            order_id: credited.order_id(),
            erased: false,
            tax: tax_of_credit(order, credited, &self.issuer.brand),
            order_number: credited.order_number().clone(),
            credit_note_number: row.credit_note_number,
            invoice_number: invoiced.invoice_number,
            invoiced_at: Some(invoiced.issued_at),
            customer_id: order.customer_id.clone(),
            customer_email: order.customer_email.clone(),
            currency: order.currency.clone(),
            total_minor: credited.total_minor(),
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

/// What the event gives back, or why no credit note is due for it.
fn credited(job: &Job) -> Result<Result<Credited, &'static str>, Failure> {
    if job.aggregate_type == EntityType::Refund.as_str() {
        let refund = events::snapshot::<RefundDocument>(job)?;
        let is_due = refund.needs_credit_note;
        return Ok(if is_due { Ok(Credited::Refund(Box::new(refund))) } else { Err("the invoice shows it") });
    }
    let returned = events::snapshot::<ReturnDocument>(job)?;
    let is_due = returned.items.iter().any(|item| item.refunded_quantity() > 0);
    Ok(if is_due { Ok(Credited::Return(Box::new(returned))) } else { Err("nothing was accepted") })
}

/// Whether a credit note of this moment comes too late to reduce the tax on what was invoiced.
fn is_late(invoiced_at: DateTime<Utc>, issued_at: DateTime<Utc>) -> bool {
    day_in_india(issued_at) > last_day_to_reduce_tax(day_in_india(invoiced_at))
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
