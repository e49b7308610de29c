//! Effects: what follows from events, each done once.
//!
//! - [`invoices`]: `order.shipped` → PDF in the store ([`invoice_number`], [`invoice_template`], [`pdf`]);
//! - [`credit_notes`]: `return.completed` → PDF in the store, as the invoice before it ([`press`]);
//! - [`refunds`]: `return.completed` → the payment [`gateway`];
//! - [`notifications`]: messages to customers, sent or logged ([`mail`]);
//! - [`alerts`]: dead jobs → a webhook;
//! - [`snapshots`]: every invoice, credit note and refund told again;
//! - [`store`]: the SQL over the `work` schema.
//!
//! Invariants: an effect, its record and the end of its job are one commit; what cannot be rolled back is preceded by a
//! commit that makes it repeatable (a call to the gateway) or keeps it from being repeated (an e-mail).

mod change;
mod invoices;
mod credit_notes;
mod press;
mod invoice_number;
pub mod invoice_template;
pub mod pdf;
mod refunds;
mod gateway;
mod notifications;
pub mod mail;
mod alerts;
pub mod snapshots;
mod store;

use std::time::Duration;

use contracts::Queue;
use messaging::retry::RetryPolicy;
use messaging::worker::{Handler, PATIENCE, Worker, WorkerConfig};
use messaging::{Hint, TransportConfig, intake};
use runtime::backoff::Backoff;
use runtime::health::Check;
use runtime::{Clock, Ids, Tasks};
use sqlx::PgPool;
use storage::StoreSettings;

use crate::mail::MailSettings;
use crate::pdf::{PdfSettings, Renderer};

/// The workers' own settings.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    #[command(flatten)]
    pub store: StoreSettings,
    #[command(flatten)]
    pub pdf: PdfSettings,
    /// The payment gateway's address.
    #[arg(long, env = "GATEWAY_URL", default_value = "http://127.0.0.1:9000")]
    pub gateway_url: String,
    /// How long one call of the gateway may take, in seconds.
    #[arg(long, env = "GATEWAY_TIMEOUT_SECONDS", default_value = "10", value_parser = runtime::config::seconds)]
    pub gateway_timeout: Duration,
    /// Invoices in hand at a time (1 to 64).
    #[arg(long, env = "INVOICE_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub invoice_slots: u16,
    /// Credit notes in hand at a time (1 to 64).
    #[arg(long, env = "CREDIT_NOTE_SLOTS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub credit_note_slots: u16,
    /// Refunds in hand at a time (1 to 64).
    #[arg(long, env = "REFUND_SLOTS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub refund_slots: u16,
    /// Notifications in hand at a time (1 to 64).
    #[arg(long, env = "NOTIFICATION_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub notification_slots: u16,
    /// Where the series of invoice numbers begins: `AC/26-27/000001`. At most 3 characters.
    #[arg(long, env = "INVOICE_PREFIX", default_value = "AC", value_parser = prefix)]
    pub invoice_prefix: String,
    /// Where the series of credit note numbers begins: `CN/26-27/000001`. At most 3 letters and digits.
    #[arg(long, env = "CREDIT_NOTE_PREFIX", default_value = "CN", value_parser = credit_note_prefix)]
    pub credit_note_prefix: String,
    /// The name under which the shop is registered, for invoices.
    #[arg(long, env = "SUPPLIER_NAME", default_value = "ArtiCurated")]
    pub supplier_name: String,
    /// Where the shop is, for invoices: lines, between semicolons.
    #[arg(long, env = "SUPPLIER_ADDRESS", default_value = "")]
    pub supplier_address: String,
    /// Printed on invoices; the command service decides.
    #[arg(long, env = "RETURN_WINDOW_DAYS", default_value_t = 30)]
    pub return_window_days: u32,
    /// Where a financial year begins and ends.
    #[arg(long, env = "BUSINESS_TIMEZONE", default_value = "Asia/Kolkata", value_parser = runtime::config::timezone)]
    pub business_timezone: chrono_tz::Tz,
    /// Gets a POST for every dead job.
    #[arg(long, env = "ALERT_WEBHOOK_URL", hide_env_values = true)]
    pub alert_webhook_url: Option<String>,
    #[command(flatten)]
    pub mail: MailSettings,
    #[command(flatten)]
    pub retries: Retries,
}

/// When failed jobs are tried again.
#[derive(Debug, Clone, clap::Args)]
pub struct Retries {
    /// First back-off of invoices and notifications, in seconds; doubled up to ten times itself, 3 retries.
    #[arg(long, env = "DOCUMENT_RETRY_SECONDS", default_value = "60", value_parser = runtime::config::seconds)]
    pub document_retry: Duration,
    /// First back-off of refunds, in seconds; doubled up to fifteen times itself, 5 retries.
    #[arg(long, env = "REFUND_RETRY_SECONDS", default_value = "120", value_parser = runtime::config::seconds)]
    pub refund_retry: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { document_retry: RetryPolicy::DOCUMENTS.backoff.base, refund_retry: RetryPolicy::REFUNDS.backoff.base }
    }
}

impl Retries {
    fn documents(&self) -> RetryPolicy {
        RetryPolicy { backoff: Backoff::new(self.document_retry, self.document_retry * 10), ..RetryPolicy::DOCUMENTS }
    }

    fn refunds(&self) -> RetryPolicy {
        RetryPolicy { backoff: Backoff::new(self.refund_retry, self.refund_retry * 15), ..RetryPolicy::REFUNDS }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            pdf: PdfSettings::default(),
            gateway_url: "http://127.0.0.1:9000".to_owned(),
            gateway_timeout: Duration::from_secs(10),
            invoice_slots: 4,
            credit_note_slots: 2,
            refund_slots: 8,
            notification_slots: 4,
            invoice_prefix: "AC".to_owned(),
            credit_note_prefix: "CN".to_owned(),
            supplier_name: "ArtiCurated".to_owned(),
            supplier_address: String::new(),
            return_window_days: 30,
            business_timezone: chrono_tz::Asia::Kolkata,
            alert_webhook_url: None,
            mail: MailSettings::default(),
            retries: Retries::default(),
        }
    }
}

/// Plainer than that of invoices, because the number becomes part of a file name.
fn credit_note_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err("must be 1 to 3 letters and digits".to_owned());
    }
    prefix(text)
}

fn prefix(text: &str) -> Result<String, String> {
    let number = invoice_number::invoice_number(text, "99-00", 999_999);
    if text.is_empty() {
        Err("at least one character is wanted".to_owned())
    } else {
        number.map(|_| text.to_owned()).map_err(|error| error.to_string())
    }
}

/// Starts a worker for each queue, with its intake, and returns what they need to be ready. `name` tells this process
/// from others in leases and logs.
pub async fn start(
    pool: &PgPool,
    transport: &TransportConfig,
    settings: &Settings,
    name: &str,
    clock: &Clock,
    ids: &Ids,
    tasks: &Tasks,
) -> anyhow::Result<Vec<Check>> {
    let files = storage::open(&settings.store.invoice_store_url).await?;
    let brand = invoice_template::Brand {
        legal_name: settings.supplier_name.clone(),
        address: settings.supplier_address.clone(),
        ..invoice_template::Brand::default()
    };
    let post = mail::Post::new(&settings.mail, brand.clone(), settings.return_window_days, files.clone())?;
    let (dead_jobs, reported) = tokio::sync::mpsc::unbounded_channel();
    tasks.spawn("alerts", alerts::run(reported, settings.alert_webhook_url.clone(), tasks.clone()));
    let relay = Hint::start(pool, messaging::outbox::CHANNEL, tasks);
    let config = |queue, slots: u16, policy| WorkerConfig {
        queue,
        slots: slots.into(),
        policy,
        owner: name.to_owned(),
        patience: PATIENCE,
        dead_jobs: dead_jobs.clone(),
        relay: Some(relay.clone()),
    };
    let renderer = Renderer::start(settings.pdf.clone());
    let press =
        press::Press { renderer: renderer.clone(), files: files.clone(), brand, timezone: settings.business_timezone };
    let invoices = invoices::Invoices {
        pool: pool.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        press: press.clone(),
        prefix: settings.invoice_prefix.clone(),
        return_window_days: settings.return_window_days,
    };
    let credit_notes = credit_notes::CreditNotes {
        pool: pool.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        press,
        prefix: settings.credit_note_prefix.clone(),
    };
    let refunds = refunds::Refunds {
        pool: pool.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        gateway: gateway::Gateway::new(&settings.gateway_url, settings.gateway_timeout)?,
    };
    let notifications = notifications::Notifications { pool: pool.clone(), clock: clock.clone(), post };
    let documents = settings.retries.documents();
    tasks.spawn("renderer", keep_warm(renderer, tasks.clone()));
    spawn(pool, transport, config(Queue::Invoices, settings.invoice_slots, documents), invoices, tasks);
    spawn(pool, transport, config(Queue::CreditNotes, settings.credit_note_slots, documents), credit_notes, tasks);
    spawn(pool, transport, config(Queue::Refunds, settings.refund_slots, settings.retries.refunds()), refunds, tasks);
    let silent = WorkerConfig { relay: None, ..config(Queue::Notifications, settings.notification_slots, documents) };
    spawn(pool, transport, silent, notifications, tasks);
    Ok(vec![files.readiness()])
}

fn spawn<H: Handler>(pool: &PgPool, transport: &TransportConfig, config: WorkerConfig, handler: H, tasks: &Tasks) {
    let queue = config.queue;
    tasks.spawn(queue.as_str(), Worker::new(pool.clone(), config, handler).run(tasks.clone()));
    tasks.spawn("intake", intake::run(pool.clone(), transport.clone(), queue, tasks.clone()));
}

/// Launches the browser before the first invoice needs it, and ends it at shutdown. A missing Chromium stops nothing
/// else: refunds are paid, and invoices wait for it with their retries.
async fn keep_warm(renderer: Renderer, tasks: Tasks) {
    if let Err(error) = renderer.warm_up().await {
        tracing::error!(alert = true, %error, "no invoices can be made");
    }
    tasks.shutdown.cancelled().await;
    renderer.shutdown().await;
}
