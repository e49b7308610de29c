//! `order.shipped` → invoice number, PDF in the store, `invoice.generated`.

use bytes::Bytes;
use contracts::{EntityType, EventType, InvoiceDocument, OrderDocument, StateChanged};
use messaging::inbox::Job;
use messaging::outbox::{self, NewEvent};
use messaging::worker::{Completed, Failure, Handler};
use runtime::database::in_transaction;
use runtime::{Clock, Ids, faults};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use storage::InvoiceStore;

use crate::change;
use crate::invoice_number::{financial_year, invoice_number};
use crate::invoice_template::{Brand, InvoiceView, invoice_html};
use crate::pdf::{Renderer, dated};
use crate::store::{self, InvoiceRow};

/// Makes invoices.
#[derive(Debug)]
pub(crate) struct Invoices {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) renderer: Renderer,
    pub(crate) files: InvoiceStore,
    pub(crate) brand: Brand,
    pub(crate) prefix: String,
    pub(crate) timezone: chrono_tz::Tz,
    pub(crate) return_window_days: u32,
}

impl Handler for Invoices {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let order = change::snapshot::<OrderDocument>(job)?;
        let row = self.number(&order).await?;
        faults::point("invoice.number.committed");
        let pdf = self.render(&order, &row).await?;
        faults::point("invoice.rendered");
        let name = InvoiceStore::invoice_name(&order.order_number);
        self.files.put(&name, pdf.clone()).await.map_err(|error| Failure::Retry(error.to_string()))?;
        faults::point("invoice.stored");
        self.complete(job, order, row, name, &pdf).await
    }
}

impl Invoices {
    /// The order's invoice row, with its number: taken in the transaction that makes the row, and found again by
    /// every later attempt, so the series has no gap and no number is given twice.
    async fn number(&self, order: &OrderDocument) -> Result<InvoiceRow, Failure> {
        let (order_id, invoice_id, at) = (order.id, self.ids.next(), self.clock.now());
        let year = financial_year(at, self.timezone);
        let prefix = self.prefix.clone();
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::find_invoice(conn, order_id).await? {
                    return Ok(row);
                }
                let n = store::next_in_series(conn, &format!("{prefix}/{year}")).await?;
                let n = u32::try_from(n).map_err(|_| Failure::Dead("the invoice series is exhausted".to_owned()))?;
                let number = invoice_number(&prefix, &year, n).map_err(|error| Failure::Dead(error.to_string()))?;
                Ok(store::insert_invoice(conn, invoice_id, order_id, &number, at).await?)
            })
        })
        .await
    }

    async fn render(&self, order: &OrderDocument, row: &InvoiceRow) -> Result<Bytes, Failure> {
        let view = InvoiceView {
            order,
            invoice_number: &row.invoice_number,
            issued_at: row.issued_at,
            return_window_days: self.return_window_days,
        };
        let html = invoice_html(&view, &self.brand).into_string();
        let started = std::time::Instant::now();
        let pdf = self.renderer.render(html).await.map_err(|error| {
            let reason = error.to_string();
            if error.is_retryable() { Failure::Retry(reason) } else { Failure::Dead(reason) }
        })?;
        metrics::histogram!("pdf_render_duration_seconds").record(started.elapsed());
        Ok(dated(pdf.into(), row.issued_at).into())
    }

    /// One commit: the invoice is stored, the job is done, the event is out.
    async fn complete(
        &self,
        job: &Job,
        order: OrderDocument,
        row: InvoiceRow,
        path: String,
        pdf: &Bytes,
    ) -> Result<Completed, Failure> {
        let at = self.clock.now();
        let snapshot = InvoiceDocument {
            id: row.id,
            order_id: order.id,
            order_number: order.order_number,
            invoice_number: row.invoice_number,
            customer_id: order.customer_id,
            customer_email: order.customer_email,
            currency: order.currency,
            total_minor: order.total_minor,
            path,
            size_bytes: i64::try_from(pdf.len()).unwrap_or(i64::MAX),
            sha256: format!("{:x}", Sha256::digest(pdf)),
            issued_at: row.issued_at,
            generated_at: at,
            carrier: order.carrier,
            tracking_number: order.tracking_number,
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
