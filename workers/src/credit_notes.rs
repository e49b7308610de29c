//! `return.completed` → credit note number, PDF in the store, `credit_note.generated`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{
    CreditNoteDocument, EntityType, EventType, OrderDocument, ReturnDocument, StateChanged, TaxSummaryDocument,
};
use messaging::inbox::Job;
use messaging::outbox::{self, NewEvent};
use messaging::worker::{Completed, Failure, Handler};
use runtime::database::{in_transaction, limited};
use runtime::{Clock, Ids, faults};
use sqlx::PgPool;
use storage::InvoiceStore;

use crate::change;
use crate::invoice_template::{CreditNoteView, credit_note_html, summary};
use crate::press::{Kept, Press};
use crate::store::{self, CreditNoteRow, Invoiced};

/// How long an invoice is waited for before the job is put back, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Makes credit notes.
#[derive(Debug)]
pub(crate) struct CreditNotes {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) press: Press,
    pub(crate) prefix: String,
}

/// The invoice that is corrected, and what is taken back of its tax.
struct Corrected {
    invoice_number: String,
    issued_at: DateTime<Utc>,
    tax: Option<TaxSummaryDocument>,
}

impl Handler for CreditNotes {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let returned = change::snapshot::<ReturnDocument>(job)?;
        let invoiced = self.invoiced(&returned).await?;
        let order: OrderDocument = serde_json::from_value(invoiced.order_document)
            .map_err(|error| Failure::Dead(format!("the order as it was invoiced: {error}")))?;
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
        let pdf = self.press.print(credit_note_html(&view, &self.press.brand), row.issued_at).await?;
        let kept = self.press.keep(InvoiceStore::credit_note_name(&row.credit_note_number), pdf).await?;
        faults::point("credit_note.stored");
        let tax = summary::of_return(&order, &returned);
        let corrected = Corrected { invoice_number: invoiced.invoice_number, issued_at: invoiced.issued_at, tax };
        limited(self.complete(job, returned, row, corrected, kept)).await
    }
}

impl CreditNotes {
    /// The invoice that is corrected. Its number is taken when the order is shipped, mostly long before anything comes
    /// back; where a day's work is done in a second, it is waited for.
    async fn invoiced(&self, returned: &ReturnDocument) -> Result<Invoiced, Failure> {
        let begun = tokio::time::Instant::now();
        loop {
            if let Some(invoiced) = limited(store::invoiced(&self.pool, returned.order_id)).await? {
                return Ok(invoiced);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::Retry(format!("the order {} has no invoice yet", returned.order_id)));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The return's credit note row, with its number: as an invoice has it.
    async fn number(&self, returned: &ReturnDocument) -> Result<CreditNoteRow, Failure> {
        let (return_id, id, at) = (returned.id, self.ids.next(), self.clock.now());
        let (press, prefix) = (self.press.clone(), self.prefix.clone());
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::find_credit_note(conn, return_id).await? {
                    return Ok(row);
                }
                let number = press.next_number(conn, &prefix, at).await?;
                Ok(store::insert_credit_note(conn, id, return_id, &number, at).await?)
            })
        })
        .await
    }

    /// One commit: the credit note is stored, the job is done, the event is out.
    async fn complete(
        &self,
        job: &Job,
        returned: ReturnDocument,
        row: CreditNoteRow,
        corrected: Corrected,
        kept: Kept,
    ) -> Result<Completed, Failure> {
        let at = self.clock.now();
        let snapshot = CreditNoteDocument {
            id: row.id,
            return_id: returned.id,
            order_id: returned.order_id,
            order_number: returned.order_number,
            credit_note_number: row.credit_note_number,
            invoice_number: corrected.invoice_number,
            invoiced_at: Some(corrected.issued_at),
            customer_id: returned.customer_id,
            customer_email: returned.customer_email,
            currency: returned.currency,
            total_minor: returned.refund_amount_minor,
            path: kept.path,
            size_bytes: kept.size_bytes,
            sha256: kept.sha256,
            issued_at: row.issued_at,
            generated_at: at,
            tax: corrected.tax,
        };
        let headers = change::headers(job);
        let transition = change::by_worker(job, EntityType::CreditNote, row.id, 1, None, "GENERATED", at);
        let event_id = self.ids.next();
        let mut tx = self.pool.begin().await?;
        let result = serde_json::json!({ "credit_note_number": snapshot.credit_note_number, "path": snapshot.path });
        let completed = Completed::mark(&mut tx, job, &result).await?;
        if store::mark_credit_note_stored(&mut tx, &snapshot).await? {
            let change = StateChanged { snapshot, transition };
            let event_type = EventType::CreditNoteGenerated;
            outbox::record(&mut tx, &NewEvent { event_id, event_type, headers: &headers, change: &change }).await?;
        }
        faults::point("credit_note.completion.ready");
        tx.commit().await?;
        faults::point("credit_note.completion.committed");
        tracing::info!(result = %result, "credit note stored");
        Ok(completed)
    }
}
