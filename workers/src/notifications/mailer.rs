//! Composes e-mails. The conversation with the mail server is in [`smtp`](super::smtp).

use anyhow::Context;
use chrono::{DateTime, Utc};
use contracts::{InvoiceDocument, OrderDocument};
use lettre::Address;
use lettre::message::Mailbox;
use messaging::worker::Failure;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use storage::InvoiceStore;
use uuid::Uuid;

use super::kind::NotificationKind;
use super::message::{Attachment, Envelope, message};
use super::smtp::Smtp;
use super::templates::content;
use crate::documents::{Brand, store_failed};

const FROM: &str = "ArtiCurated <orders@articurated.example>";

/// Whether and how e-mails go out.
#[derive(Debug, Clone, clap::Args)]
pub struct MailSettings {
    /// The mail server: `smtps://user:password@host`, or `smtp://user:password@host?tls=required`. Unset: e-mails are
    /// logged.
    #[arg(long, env = "SMTP_URL", hide_env_values = true, value_parser = runtime::config::secret)]
    pub smtp_url: Option<SecretString>,
    /// The sender of the e-mails.
    #[arg(long, env = "MAIL_FROM", default_value = FROM, value_parser = mailbox)]
    pub mail_from: Mailbox,
    /// Where replies to the e-mails go. Unset: `MAIL_FROM`.
    #[arg(long, env = "MAIL_REPLY_TO", value_parser = mailbox)]
    pub mail_reply_to: Option<Mailbox>,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self { smtp_url: None, mail_from: FROM.parse().expect("an address"), mail_reply_to: None }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| format!("{error}; expected an address, or a name with one: {FROM}"))
}

/// Everything that e-mails are composed of and sent with.
#[derive(Debug)]
pub(crate) struct Mailer {
    /// `None`: e-mails are logged.
    pub(super) smtp: Option<Smtp>,
    pub(super) from: Mailbox,
    pub(super) reply_to: Option<Mailbox>,
    pub(super) brand: Brand,
    pub(super) return_window_days: u32,
    files: InvoiceStore,
}

impl Mailer {
    /// # Errors
    /// When `SMTP_URL` is not valid.
    pub(crate) fn new(
        settings: &MailSettings,
        brand: Brand,
        return_window_days: u32,
        files: InvoiceStore,
    ) -> anyhow::Result<Self> {
        let smtp = match &settings.smtp_url {
            None => None,
            Some(url) => Some(Smtp::parse(url.expose_secret()).context("SMTP_URL")?),
        };
        let (from, reply_to) = (settings.mail_from.clone(), settings.mail_reply_to.clone());
        Ok(Self { smtp, from, reply_to, brand, return_window_days, files })
    }

    /// Every attempt at an event has the same message id, so that a mailbox can detect a duplicate.
    pub(super) fn message_id(&self, event_id: Uuid) -> String {
        format!("<{event_id}@{}>", self.from.email.domain())
    }

    /// The whole e-mail, as it goes over the wire. `order` is the order as it was invoiced, where it is known.
    pub(super) async fn compose(
        &self,
        kind: &NotificationKind,
        order: Option<&OrderDocument>,
        to: &Address,
        message_id: &str,
        at: DateTime<Utc>,
    ) -> Result<Vec<u8>, Failure> {
        let content = content(kind, order, self.return_window_days);
        let attachment = match kind.invoice() {
            None => None,
            Some(invoice) => Some(self.attachment(invoice).await?),
        };
        let envelope = Envelope { from: &self.from, reply_to: self.reply_to.as_ref(), to, message_id, at };
        message(envelope, &content, &self.brand, attachment).map_err(|error| Failure::Dead(error.to_string()))
    }

    async fn attachment(&self, invoice: &InvoiceDocument) -> Result<Attachment, Failure> {
        let file = self.files.get(&invoice.path).await.map_err(store_failed)?;
        let pdf = file.bytes().await.map_err(store_failed)?;
        if format!("{:x}", Sha256::digest(&pdf)) != invoice.sha256 {
            return Err(Failure::Dead(format!(
                "{} is not the file that was stored: its SHA-256 differs",
                invoice.path
            )));
        }
        Ok(Attachment { name: invoice.path.clone(), pdf })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_a_name_and_an_address_or_an_address() {
        assert_eq!(mailbox("a@example.in"), Ok(Mailbox::new(None, "a@example.in".parse().expect("an address"))));
        assert!(mailbox(FROM).is_ok());
        let refusal = mailbox("ArtiCurated").expect_err("no address");
        assert!(refusal.contains(FROM), "{refusal}");
    }
}
