//! `order.shipped` → invoice number, PDF in the file store, `invoice.generated`; `order.registered` → another edition of the PDF, with
//! the registration, `invoice.registered`.

mod template;
mod store;

use std::time::Duration;

use contracts::{
    EInvoiceDocument, EditionDocument, EntityType, EventType, InvoiceDocument, OrderDocument, StateChanged,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::worker::{Completed, Effect, Failure, Handler};
use runtime::database::in_transaction;
use runtime::{Clock, Ids, faults};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use storage::InvoiceStore;
use uuid::Uuid;

use crate::documents::{BILL_OF_SUPPLY, DocumentIssuer, StoredFile, invoice_title, tax_of_order};
use crate::events::{self, Caused};

pub(crate) use store::{InvoicedOrder, invoiced_order, page, stored_invoice};
pub use template::{InvoiceView, invoice_html};

use store::{InvoiceRow, StoredInvoice};

/// How long a registration waits for the first edition.
const FIRST_EDITION_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// Issues invoices.
#[derive(Debug)]
pub(crate) struct Invoices {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) issuer: DocumentIssuer,
    pub(crate) prefix: String,
    pub(crate) e_invoicing: bool,
    pub(crate) return_window_days: u32,
}

impl Handler for Invoices {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        match job.event_type() {
            Some(EventType::OrderRegistered) => self.register(job).await,
            _ => self.issue(job).await,
        }
    }
}

impl Invoices {
    /// The first edition.
    async fn issue(&self, job: &Job) -> Result<Completed, Failure> {
        let order = events::snapshot::<OrderDocument>(job)?.invoiced();
        let row = self.number(&order).await?;
        faults::point("invoice.number.committed");
        let view = InvoiceView {
            order: &order,
            invoice_number: &row.invoice_number,
            issued_at: row.issued_at,
            e_invoice: None,
            return_window_days: self.return_window_days,
        };
        let pdf = self.issuer.print(invoice_html(&view, &self.issuer.brand), row.issued_at).await?;
        faults::point("invoice.rendered");
        let file = self.issuer.store(InvoiceStore::invoice_name(order.order_number.as_str()), pdf).await?;
        faults::point("invoice.stored");
        Ok(self.completed(job, order, row, file))
    }

    /// Another edition under the same number, with the portal's answer. The earlier ones are kept.
    async fn register(&self, job: &Job) -> Result<Completed, Failure> {
        let registered = events::snapshot::<OrderDocument>(job)?;
        let e_invoice =
            registered.e_invoice.ok_or_else(|| Failure::Dead("the order has no registration".to_owned()))?;
        let Some(StoredInvoice { order, invoice, is_last }) =
            self.announce(registered.id, job.aggregate_version).await?
        else {
            // It follows the shipment within seconds, or waits for a browser.
            let why = "the first edition of the invoice is not made yet".to_owned();
            return Err(Failure::NotYet { why, within: FIRST_EDITION_WITHIN });
        };
        if !is_last {
            return Ok(Completed::new(serde_json::json!({ "skipped": "the order has a later registration" })));
        }
        let Json(order) = order;
        let Json(invoice) = invoice;
        let view = InvoiceView {
            order: &order,
            invoice_number: &invoice.invoice_number,
            issued_at: invoice.issued_at,
            e_invoice: Some(&e_invoice),
            return_window_days: self.return_window_days,
        };
        let pdf = self.issuer.print(invoice_html(&view, &self.issuer.brand), invoice.issued_at).await?;
        let name = InvoiceStore::registered_name(order.order_number.as_str(), job.aggregate_version);
        let file = self.issuer.store(name, pdf).await?;
        faults::point("invoice.edition.stored");
        Ok(self.registered(job, invoice, e_invoice, file))
    }

    async fn announce(&self, order_id: Uuid, order_version: i32) -> Result<Option<StoredInvoice>, Failure> {
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move { Ok(store::announce_registration(conn, order_id, order_version).await?) })
        })
        .await
    }

    fn registered(
        &self,
        job: &Job,
        earlier: InvoiceDocument,
        e_invoice: EInvoiceDocument,
        file: StoredFile,
    ) -> Completed {
        let at = self.clock.now();
        let mut earlier_editions = earlier.earlier_editions.clone();
        earlier_editions.push(EditionDocument {
            edition: earlier.edition,
            path: earlier.path.clone(),
            size_bytes: earlier.size_bytes,
            sha256: earlier.sha256.clone(),
            generated_at: earlier.generated_at,
        });
        let before = if earlier.edition == 1 { GENERATED } else { REGISTERED };
        let snapshot = InvoiceDocument {
            path: file.path,
            size_bytes: file.size_bytes,
            sha256: file.sha256,
            edition: earlier.edition + 1,
            earlier_editions,
            e_invoice: Some(e_invoice),
            generated_at: at,
            ..earlier
        };
        let result = serde_json::json!({ "edition": snapshot.edition, "path": snapshot.path });
        tracing::info!(result = %result, "invoice edition stored");
        let (id, version) = (snapshot.id, snapshot.edition);
        let transition = events::transition(job, EntityType::Invoice, id, version, Some(before), REGISTERED, at);
        let change = StateChanged { snapshot, transition };
        let caused = Caused { event_id: self.ids.next(), traceparent: events::traceparent(job), change };
        Completed::with(result, Registered { caused, order_version: job.aggregate_version })
    }

    /// The order's invoice row with its number. The first attempt takes the number in the transaction that inserts the
    /// row; later attempts find the row. The row keeps the order as it is invoiced, for credit notes that may follow.
    async fn number(&self, order: &OrderDocument) -> Result<InvoiceRow, Failure> {
        // The day of the invoice and its series are those of the supply, however long the job has waited.
        let at = order.shipped_at.unwrap_or_else(|| self.clock.now());
        let (order_id, invoice_id) = (order.id, self.ids.next());
        let document = serde_json::to_value(order).map_err(|error| Failure::Dead(error.to_string()))?;
        let (issuer, prefix, awaits_registration) =
            (self.issuer.clone(), self.prefix.clone(), self.must_register(order));
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::find(conn, order_id).await? {
                    return Ok(row);
                }
                let number = issuer.next_number(conn, &prefix, at).await?;
                Ok(store::insert(conn, invoice_id, order_id, &number, at, &document, awaits_registration).await?)
            })
        })
        .await
    }

    /// Whether the law wants this invoice registered at the portal: a taxed supply to a registered buyer, or a zero-rated one.
    fn must_register(&self, order: &OrderDocument) -> bool {
        self.e_invoicing && order.is_for_the_portal() && invoice_title(order) != BILL_OF_SUPPLY
    }

    /// What the commit of the job writes: the invoice is recorded, and the event is in the outbox.
    fn completed(&self, job: &Job, order: OrderDocument, row: InvoiceRow, file: StoredFile) -> Completed {
        let at = self.clock.now();
        let tax = tax_of_order(&order, &self.issuer.brand);
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
            edition: 1,
            earlier_editions: Vec::new(),
            mailed_when_registered: row.awaits_registration,
            e_invoice: None,
            issued_at: row.issued_at,
            generated_at: at,
            carrier: order.carrier,
            tracking_number: order.tracking_number,
            erased: false,
            tax,
        };
        let result = serde_json::json!({ "invoice_number": snapshot.invoice_number, "path": snapshot.path });
        tracing::info!(result = %result, "invoice stored");
        let transition = events::transition(job, EntityType::Invoice, row.id, 1, None, GENERATED, at);
        let change = StateChanged { snapshot, transition };
        Completed::with(
            result,
            Issued(Caused { event_id: self.ids.next(), traceparent: events::traceparent(job), change }),
        )
    }
}

/// The states of an invoice.
const GENERATED: &str = "GENERATED";
const REGISTERED: &str = "REGISTERED";

/// A later edition whose PDF is in the store.
#[derive(Debug)]
struct Registered {
    caused: Caused<InvoiceDocument>,
    order_version: i32,
}

impl Effect for Registered {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        let Caused { event_id, traceparent, change } = &self.caused;
        async move {
            if store::mark_registered(conn, &change.snapshot, self.order_version).await? {
                events::record(conn, *event_id, EventType::InvoiceRegistered, traceparent.as_deref(), change).await?;
            }
            Ok(())
        }
        .boxed()
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
