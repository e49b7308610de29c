//! The workers' settings, from flags and environment.

use std::time::Duration;

use messaging::inbox::Job;
use messaging::retry::RetryPolicy;
use secrecy::SecretString;
use storage::StoreSettings;

use crate::callbacks::parse_secret;
use crate::documents::{Brand, check_credit_note_prefix, check_invoice_prefix};
use crate::notifications::MailSettings;
use crate::pdf::PdfSettings;
use crate::webhooks::WebhookSettings;

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
    /// How long one call to the gateway may take, in seconds.
    #[arg(long, env = "GATEWAY_TIMEOUT_SECONDS", default_value = "10", value_parser = runtime::config::seconds)]
    pub gateway_timeout: Duration,
    /// The secret with which the gateway signs its calls to `POST /gateway/callbacks`: `whsec_` and at least 24 bytes in base64.
    /// Without it there is no such route, and refunds that are under way at the gateway are only polled.
    #[arg(long, env = "GATEWAY_WEBHOOK_SECRET", hide_env_values = true, value_parser = parse_secret)]
    pub gateway_webhook_secret: Option<SecretString>,
    /// Invoices processed at the same time (1 to 64).
    #[arg(long, env = "INVOICE_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub invoice_slots: u16,
    /// Credit notes processed at the same time (1 to 64).
    #[arg(long, env = "CREDIT_NOTE_SLOTS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub credit_note_slots: u16,
    /// Refunds processed at the same time (1 to 64).
    #[arg(long, env = "REFUND_SLOTS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub refund_slots: u16,
    /// Notifications processed at the same time (1 to 64).
    #[arg(long, env = "NOTIFICATION_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub notification_slots: u16,
    /// Prefix of invoice numbers: `AC` gives `AC/26-27/0000001`. At most 3 characters.
    #[arg(long, env = "INVOICE_PREFIX", default_value = "AC", value_parser = check_invoice_prefix)]
    pub invoice_prefix: String,
    /// Prefix of credit note numbers: `CN` gives `CN/26-27/0000001`. At most 3 letters and digits.
    #[arg(long, env = "CREDIT_NOTE_PREFIX", default_value = "CN", value_parser = check_credit_note_prefix)]
    pub credit_note_prefix: String,
    /// The same of commercial credit notes, which come too late to reduce the tax. Choose another one, because GSTR-1 lists only the
    /// numbers of those that do.
    #[arg(long, env = "COMMERCIAL_CREDIT_NOTE_PREFIX", default_value = "CC", value_parser = check_credit_note_prefix)]
    pub commercial_credit_note_prefix: String,
    /// The shop's registered name, printed on invoices.
    #[arg(long, env = "SUPPLIER_NAME", default_value = "ArtiCurated")]
    pub supplier_name: String,
    /// The shop's address, printed on invoices. Semicolons separate its lines.
    #[arg(long, env = "SUPPLIER_ADDRESS", default_value = "")]
    pub supplier_address: String,
    /// The shop's place, in 3 to 50 characters. Printed below the address; e-invoices need it.
    #[arg(long, env = "SUPPLIER_CITY", value_parser = city)]
    pub supplier_city: Option<String>,
    /// The shop's PIN code, of 6 digits. Printed beside the place; e-invoices need it.
    #[arg(long, env = "SUPPLIER_POSTAL_CODE", value_parser = postal_code)]
    pub supplier_postal_code: Option<String>,
    /// Whether the shop must register its invoices to registered buyers and its exports at an invoice registration portal. These are
    /// e-mailed once the registration was entered. Requires `SUPPLIER_ADDRESS`, `SUPPLIER_CITY` and `SUPPLIER_POSTAL_CODE`.
    #[arg(long, env = "E_INVOICING", default_value_t = false, action = clap::ArgAction::Set)]
    pub e_invoicing: bool,
    /// Days within which items may be returned, as printed on invoices. The command service enforces the limit.
    #[arg(long, env = "RETURN_WINDOW_DAYS", default_value_t = 30)]
    pub return_window_days: u32,
    /// Hours after which a customer is told that a refund is still in doubt (1 to 720).
    #[arg(long, env = "REFUND_NOTICE_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=720))]
    pub refund_notice_hours: u32,
    /// URL that receives a POST for every dead job of the workers and every refund that the gateway refuses. It is tried until it
    /// answers 2xx.
    #[arg(long, env = "ALERT_WEBHOOK_URL", hide_env_values = true)]
    pub alert_webhook_url: Option<String>,
    #[command(flatten)]
    pub webhooks: WebhookSettings,
    #[command(flatten)]
    pub mail: MailSettings,
    #[command(flatten)]
    pub retries: Retries,
    /// Which jobs of documents and e-mails have their effect; the others are done at once. `None`: all. The program has no such
    /// setting: it is for benchmarks, which make more orders than a browser can print.
    #[arg(skip)]
    pub chooses: Option<fn(&Job) -> bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            pdf: PdfSettings::default(),
            gateway_url: "http://127.0.0.1:9000".to_owned(),
            gateway_timeout: Duration::from_secs(10),
            gateway_webhook_secret: None,
            invoice_slots: 4,
            credit_note_slots: 2,
            refund_slots: 8,
            notification_slots: 4,
            invoice_prefix: "AC".to_owned(),
            credit_note_prefix: "CN".to_owned(),
            commercial_credit_note_prefix: "CC".to_owned(),
            supplier_name: "ArtiCurated".to_owned(),
            supplier_address: String::new(),
            supplier_city: None,
            supplier_postal_code: None,
            e_invoicing: false,
            return_window_days: 30,
            refund_notice_hours: 24,
            alert_webhook_url: None,
            webhooks: WebhookSettings::default(),
            mail: MailSettings::default(),
            retries: Retries::default(),
            chooses: None,
        }
    }
}

impl Settings {
    /// The shop as documents and e-mails name it.
    pub(crate) fn brand(&self) -> Brand {
        Brand {
            legal_name: self.supplier_name.clone(),
            address: self.supplier_address.clone(),
            city: self.supplier_city.clone(),
            postal_code: self.supplier_postal_code.clone(),
            ..Brand::default()
        }
    }

    /// # Errors
    /// `E_INVOICING` without what every e-invoice says of the shop.
    pub(crate) fn check_supplier(&self) -> anyhow::Result<()> {
        let is_complete = !self.supplier_address.trim().is_empty()
            && self.supplier_city.is_some()
            && self.supplier_postal_code.is_some();
        anyhow::ensure!(
            is_complete || !self.e_invoicing,
            "E_INVOICING=true requires SUPPLIER_ADDRESS, SUPPLIER_CITY and SUPPLIER_POSTAL_CODE: every e-invoice names them"
        );
        Ok(())
    }
}

fn city(text: &str) -> Result<String, String> {
    let text = text.trim();
    if (3..=50).contains(&text.chars().count()) {
        Ok(text.to_owned())
    } else {
        Err("must have 3 to 50 characters".to_owned())
    }
}

fn postal_code(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let is_pin = digits.len() == 6 && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_pin { Ok(digits) } else { Err("must be a PIN code of 6 digits, like 560001".to_owned()) }
}

/// When failed jobs are retried.
#[derive(Debug, Clone, clap::Args)]
pub struct Retries {
    /// Unit of the waits before the retries of invoices, credit notes and e-mails, in seconds. A document is retried after 1, 2,
    /// 5, 10 and 20 units, an e-mail after 5, 15, 60, 120, 240, 480 and 480.
    #[arg(long, env = "DOCUMENT_RETRY_SECONDS", default_value = "60", value_parser = runtime::config::seconds)]
    pub document_retry: Duration,
    /// Unit of the waits before the retries of refunds, in seconds: after 1, 2, 4, 8 and 15 units, and then every
    /// 15 units again and again: only the gateway's word ends a refund.
    #[arg(long, env = "REFUND_RETRY_SECONDS", default_value = "120", value_parser = runtime::config::seconds)]
    pub refund_retry: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { document_retry: RetryPolicy::DOCUMENTS.unit, refund_retry: RetryPolicy::REFUNDS.unit }
    }
}

impl Retries {
    pub(crate) fn documents(&self) -> RetryPolicy {
        RetryPolicy { unit: self.document_retry, ..RetryPolicy::DOCUMENTS }
    }

    pub(crate) fn mail(&self) -> RetryPolicy {
        RetryPolicy { unit: self.document_retry, ..RetryPolicy::MAIL }
    }

    pub(crate) fn refunds(&self) -> RetryPolicy {
        RetryPolicy { unit: self.refund_retry, ..RetryPolicy::REFUNDS }
    }
}
