//! What customers are written, and how it gets to a mail server.
//!
//! - [`occasion`]: what an e-mail is about, by the event;
//! - [`letters`]: what each of them says, as a [`letter`];
//! - [`html`] and [`text`]: the same letter, twice;
//! - [`message`]: headers and parts;
//! - [`smtp`]: the conversation with a server, in two halves;
//! - [`store`]: the SQL over `work.emails`.
//!
//! Invariant: no other crate names `lettre`.

mod html;
mod letter;
mod letters;
mod message;
mod occasion;
mod smtp;
pub(crate) mod store;
mod text;
#[cfg(test)]
mod tests;

use anyhow::Context;
use bytes::Bytes;
use lettre::message::Mailbox;
use secrecy::{ExposeSecret, SecretString};
use storage::InvoiceStore;

use crate::invoice_template::Brand;

pub(crate) use letters::letter;
pub(crate) use message::Attachment;
pub(crate) use occasion::Occasion;
pub(crate) use smtp::{NotSent, Smtp};

const FROM: &str = "ArtiCurated <orders@articurated.example>";

/// Whether and how e-mails go out.
#[derive(Debug, Clone, clap::Args)]
pub struct MailSettings {
    /// Server that takes the e-mails: `smtps://user:password@host`, or `smtp://user:password@host?tls=required`. Unset:
    /// they are logged.
    #[arg(long, env = "SMTP_URL", hide_env_values = true, value_parser = runtime::config::secret)]
    pub smtp_url: Option<SecretString>,
    /// Who sends the e-mails.
    #[arg(long, env = "MAIL_FROM", default_value = FROM, value_parser = mailbox)]
    pub mail_from: Mailbox,
    /// Who gets the answers to e-mails. Unset: `MAIL_FROM`.
    #[arg(long, env = "MAIL_REPLY_TO", value_parser = mailbox)]
    pub mail_reply_to: Option<Mailbox>,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self { smtp_url: None, mail_from: FROM.parse().expect("an address"), mail_reply_to: None }
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| format!("{error}; wanted is an address, or a name with one: {FROM}"))
}

/// Everything an e-mail is made with and sent by.
#[derive(Debug)]
pub(crate) struct Post {
    /// `None`: e-mails are logged.
    pub(crate) smtp: Option<Smtp>,
    pub(crate) from: Mailbox,
    pub(crate) reply_to: Option<Mailbox>,
    pub(crate) brand: Brand,
    pub(crate) return_window_days: u32,
    files: InvoiceStore,
}

impl Post {
    /// # Errors
    /// When `SMTP_URL` cannot be understood.
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

    /// The bytes of a PDF.
    pub(crate) async fn pdf(&self, name: &str) -> Result<Bytes, storage::StoreError> {
        self.files.get(name).await?.bytes().await
    }
}
