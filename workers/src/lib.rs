//! The workers: each consumes the events of one queue and carries out their effects, each effect once.
//!
//! - [`invoices`]: `order.shipped` → an invoice as a PDF, `invoice.generated`; `order.registered` → its next edition,
//!   `invoice.registered`;
//! - [`credit_notes`]: `return.completed` → a credit note as a PDF, `credit_note.generated`;
//! - [`refunds`]: `refund.initiated` → a payment by the gateway, `refund.processed`;
//! - [`notifications`]: an e-mail to the customer, sent or logged;
//! - [`webhooks`]: events to the shop's own systems, which follow the log themselves;
//! - [`documents`]: what invoices and credit notes share: numbers, layout, tax table, files;
//! - [`pdf`]: HTML → PDF, by Chromium;
//! - [`events`]: the event that a job consumes, and the one that it causes;
//! - [`republish`]: every invoice and credit note published again;
//! - [`callbacks`]: the gateway says that something has come of a refund;
//! - [`alerts`]: dead jobs and refused refunds → a webhook;
//! - [`chosen`]: leaves out the effects of most jobs, for benchmarks;
//! - [`decoders`]: what reads the gateway's calls, for the fuzz targets.
//!
//! Invariants: an effect, its record and the completion of its job are one commit. What cannot be rolled back is preceded
//! by a commit that makes it repeatable (a call to the gateway) or prevents its repetition (an e-mail). The SQL over a
//! table of `work` stands in the `store` of the module that owns the table. Uses between modules go one way: handlers →
//! `documents` → `pdf`.

mod settings;
pub mod invoices;
mod credit_notes;
mod refunds;
pub mod notifications;
pub mod documents;
pub mod pdf;
mod events;
pub mod republish;
mod alerts;
mod callbacks;
mod webhooks;
mod chosen;
pub mod decoders;

use std::time::Duration;

use axum::Router;
use contracts::Queue;
use messaging::worker::{Handler, Isolation, PATIENCE, Worker, WorkerConfig};
use messaging::{Hint, TransportConfig, intake};
use runtime::health::Check;
use runtime::{Clock, Ids, Tasks};
use sqlx::PgPool;

use crate::alerts::{Alerting, Alerts};
use crate::chosen::Chosen;
use crate::credit_notes::CreditNotes;
use crate::documents::DocumentIssuer;
use crate::invoices::Invoices;
use crate::notifications::{Mailer, Notifications};
use crate::pdf::Renderer;
use crate::refunds::{Gateway, Refunds};

pub use callbacks::openapi;
pub use settings::{Retries, Settings};
pub use webhooks::WebhookSettings;

/// Starts a worker for each queue, with its intake, and returns the routes for the gateway and the readiness checks. `name`
/// identifies this process in leases and logs.
pub async fn start(
    pool: &PgPool,
    transport: &TransportConfig,
    settings: &Settings,
    name: &str,
    clock: &Clock,
    ids: &Ids,
    tasks: &Tasks,
) -> anyhow::Result<(Router, Vec<Check>)> {
    settings.check_supplier()?;
    let (pool, clock, ids) = (pool.clone(), clock.clone(), ids.clone());
    let (files, brand) = (storage::open(&settings.store.invoice_store_url).await?, settings.brand());
    let mailer = Mailer::new(&settings.mail, brand.clone(), settings.return_window_days, files.clone())?;
    let gateway = Gateway::new(&settings.gateway_url, settings.gateway_timeout)?;
    let renderer = Renderer::start(settings.pdf.clone());
    tasks.spawn("renderer", keep_warm(renderer.clone(), tasks.clone()));
    let issuer = DocumentIssuer { renderer, files: files.clone(), brand };

    let invoices = Invoices {
        pool: pool.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        issuer: issuer.clone(),
        prefix: settings.invoice_prefix.clone(),
        e_invoicing: settings.e_invoicing,
        return_window_days: settings.return_window_days,
    };
    let credit_notes = CreditNotes {
        pool: pool.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        issuer,
        prefix: settings.credit_note_prefix.clone(),
        commercial_prefix: settings.commercial_credit_note_prefix.clone(),
    };
    let alerts = Alerts::new(settings.alert_webhook_url.as_ref(), clock.clone(), ids.clone());
    let notice = Duration::from_secs(u64::from(settings.refund_notice_hours) * 3_600);
    let refunds =
        Refunds { pool: pool.clone(), clock: clock.clone(), ids: ids.clone(), gateway, alerts: alerts.clone(), notice };
    let notifications = Notifications { pool: pool.clone(), clock: clock.clone(), mailer };

    webhooks::start(&pool, &settings.webhooks, &alerts, name, &clock, &ids, tasks).await?;
    tasks.spawn("alerts", alerts::run(pool.clone(), settings.alert_webhook_url.clone(), tasks.clone()));
    let relay = Hint::start(&pool, messaging::outbox::CHANNEL, tasks);
    let isolation = Isolation::new();
    let config = |queue, slots: u16, policy| WorkerConfig {
        queue,
        system: transport.system(),
        slots: slots.into(),
        policy,
        owner: name.to_owned(),
        isolation: isolation.clone(),
        patience: PATIENCE,
        relay: Some(relay.clone()),
    };
    let (documents, chooses) = (settings.retries.documents(), settings.chooses);
    let invoices = alerting(Chosen { handler: invoices, chooses }, &alerts);
    let credit_notes = alerting(Chosen { handler: credit_notes, chooses }, &alerts);
    let notifications = alerting(Chosen { handler: notifications, chooses }, &alerts);
    let refunds = alerting(refunds, &alerts);
    spawn(&pool, transport, config(Queue::Invoices, settings.invoice_slots, documents), invoices, tasks);
    spawn(&pool, transport, config(Queue::CreditNotes, settings.credit_note_slots, documents), credit_notes, tasks);
    spawn(&pool, transport, config(Queue::Refunds, settings.refund_slots, settings.retries.refunds()), refunds, tasks);
    // An e-mail causes no event, so this worker has nothing to wake the relay for.
    let mail = config(Queue::Notifications, settings.notification_slots, settings.retries.mail());
    let silent = WorkerConfig { relay: None, ..mail };
    spawn(&pool, transport, silent, notifications, tasks);
    let routes = callbacks::routes(pool, settings.gateway_webhook_secret.as_ref())?;
    Ok((routes, vec![files.readiness()]))
}

fn alerting<H: Handler>(handler: H, alerts: &Alerts) -> Alerting<H> {
    Alerting { handler, alerts: alerts.clone() }
}

fn spawn<H: Handler>(pool: &PgPool, transport: &TransportConfig, config: WorkerConfig, handler: H, tasks: &Tasks) {
    let queue = config.queue;
    tasks.spawn(queue.as_str(), Worker::new(pool.clone(), config, handler).run(tasks.clone()));
    tasks.spawn("intake", intake::run(pool.clone(), transport.clone(), queue, tasks.clone()));
}

/// Launches the browser before the first document needs it, and stops it at shutdown. A missing Chromium stops nothing
/// else: refunds are paid, and the queues of documents wait for Chromium.
async fn keep_warm(renderer: Renderer, tasks: Tasks) {
    if let Err(error) = renderer.warm_up().await {
        tracing::error!(alert = true, %error, "invoices and credit notes cannot be printed");
    }
    tasks.shutdown.cancelled().await;
    renderer.shutdown().await;
}
