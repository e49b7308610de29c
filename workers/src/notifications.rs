//! Events that customers are notified of → at most one e-mail each.
//!
//! - [`kind`]: which events these are, and what each notification is about;
//! - [`templates`]: what each e-mail says, as its [`content`];
//! - [`html`] and [`text`]: the same content, twice;
//! - [`mailer`]: composes the e-mail, with headers and parts from [`message`];
//! - [`smtp`]: the conversation with the mail server, in two halves;
//! - [`store`]: the SQL over `work.emails`.
//!
//! A mail server cannot be asked whether it has accepted an e-mail. So the worker commits a record in `work.emails` when
//! the server is ready for the text, and before it sends any of it. A later attempt that finds such a record sends
//! nothing: the job is dead and the e-mail in doubt until an operator decides. Without a server e-mails are logged, and
//! the log line contains no personal data.

mod kind;
mod templates;
mod content;
mod html;
mod text;
mod mailer;
mod message;
mod smtp;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::{Email, EventType, OrderDocument};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lettre::Address;
use messaging::inbox::{self, Job};
use messaging::worker::{Completed, Effect, Failure, Handler};
use runtime::database::limited;
use runtime::{Clock, faults};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::events;
use crate::invoices::{invoiced_order, stored_invoice};

pub use mailer::MailSettings;
pub(crate) use mailer::Mailer;

use kind::NotificationKind;
use smtp::{NotSent, Smtp};

/// How long a request to send the invoice waits for it.
const INVOICE_WITHIN: Duration = Duration::from_secs(24 * 3_600);

/// Notifies customers.
#[derive(Debug)]
pub(crate) struct Notifications {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) mailer: Mailer,
}

impl Handler for Notifications {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let kind = match job.event_type() {
            Some(EventType::OrderInvoiceRequested) => self.invoice_again(job).await?,
            _ => NotificationKind::of(job)?,
        };
        let Some(kind) = kind else {
            return Ok(Completed::new(json!({ "skipped": "it is sent once the invoice is registered" })));
        };
        match (kind.recipient(), &self.mailer.smtp) {
            (None, _) => {
                Ok(Completed::new(json!({ "kind": kind.name(), "skipped": "the order has no e-mail address" })))
            }
            (Some(_), None) => Ok(self.logged(job, &kind)),
            (Some(recipient), Some(smtp)) => self.send(job, &kind, recipient, smtp).await,
        }
    }

    async fn dead_lettered(&self, conn: &mut PgConnection, job: &Job, _reason: &str) -> sqlx::Result<()> {
        store::mark_in_doubt(conn, job.event_id).await
    }
}

impl Notifications {
    /// The invoice in its last edition. `None`: it is sent once it is registered.
    async fn invoice_again(&self, job: &Job) -> Result<Option<NotificationKind>, Failure> {
        let order: Box<OrderDocument> = Box::new(events::snapshot(job)?);
        let Some(invoice) = limited(stored_invoice(&self.pool, order.id)).await? else {
            return Err(Failure::NotYet { why: "the invoice is not made yet".to_owned(), within: INVOICE_WITHIN });
        };
        if invoice.erased {
            return Err(Failure::Dead("the invoice was erased with its customer's personal data".to_owned()));
        }
        let waits = invoice.mailed_when_registered && invoice.edition == 1;
        Ok((!waits).then_some(NotificationKind::InvoiceAgain(order, invoice)))
    }

    /// What the commit of the job writes when no mail server is set: the e-mail is on record.
    fn logged(&self, job: &Job, kind: &NotificationKind) -> Completed {
        let (name, message_id) = (kind.name(), self.mailer.message_id(job.event_id));
        let (subject, order_number) = (kind.subject(), kind.order_number().as_str());
        let attachment = kind.invoice().map(|invoice| invoice.path.as_str());
        tracing::info!(kind = name, subject, order_number, attachment, message_id, "e-mail logged, not sent");
        let result = json!({ "kind": name, "message_id": message_id });
        let (event_id, at) = (job.event_id, self.clock.now());
        Completed::with(result, Recorded { event_id, at, how: How::Logged { name, message_id } })
    }

    async fn send(
        &self,
        job: &Job,
        kind: &NotificationKind,
        recipient: &Email,
        smtp: &Smtp,
    ) -> Result<Completed, Failure> {
        let known = limited(store::find(&self.pool, job.event_id)).await?;
        if known.status.as_deref() == Some("SENDING") {
            return Err(in_doubt("a worker stopped while it was sending it"));
        }
        let corrected = known.recipient.and_then(|address| Email::parse(&address).ok());
        let to = &routed(corrected.as_ref().unwrap_or(recipient).address());
        let message_id = self.mailer.message_id(job.event_id);
        let order = self.order(kind).await?;
        let text = self.mailer.compose(kind, order.as_ref(), to, &message_id, self.clock.now()).await?;
        let mut conversation = smtp.start(&self.mailer.from.email, to).await.map_err(failure)?;
        limited(self.record(job, kind, &message_id)).await?;
        faults::point("notification.recorded");
        if let Err(why) = conversation.deliver(&text).await {
            if !matches!(why, NotSent::Unknown(_)) {
                limited(self.put_back(job)).await?;
            }
            return Err(failure(why));
        }
        faults::point("notification.sent");
        tracing::info!(kind = kind.name(), order_number = kind.order_number().as_str(), message_id, "e-mail sent");
        conversation.end().await;
        let result = json!({ "kind": kind.name(), "message_id": message_id });
        // If this is not committed, the next attempt finds the e-mail as SENDING, and does not send it again.
        let (event_id, at) = (job.event_id, self.clock.now());
        Ok(Completed::with(result, Recorded { event_id, at, how: How::Sent }))
    }

    /// The order as it was invoiced, which says more than most events. An e-mail can do without it.
    async fn order(&self, kind: &NotificationKind) -> Result<Option<OrderDocument>, Failure> {
        if kind.is_about_an_order() {
            return Ok(None);
        }
        let invoiced = limited(invoiced_order(&self.pool, kind.order_id())).await?;
        Ok(invoiced.and_then(|invoiced| serde_json::from_value(invoiced.order_document).ok()))
    }

    /// Commits the record that the text is about to be sent, and only while the worker holds its lease: a worker that
    /// was asleep past its lease must not send anything.
    async fn record(&self, job: &Job, kind: &NotificationKind, message_id: &str) -> Result<(), Failure> {
        let mut tx = self.pool.begin().await?;
        if !inbox::hold(&mut tx, job).await? {
            return Err(Failure::LeaseLost);
        }
        if !store::mark_sending(&mut tx, job.event_id, kind.name(), message_id, self.clock.now()).await? {
            return Err(in_doubt("our record says that it is being sent"));
        }
        Ok(tx.commit().await?)
    }

    /// The server has accepted nothing, so the next attempt may start over.
    async fn put_back(&self, job: &Job) -> Result<(), Failure> {
        let mut tx = self.pool.begin().await?;
        if !inbox::hold(&mut tx, job).await? {
            return Err(Failure::LeaseLost);
        }
        store::mark_refused(&mut tx, job.event_id).await?;
        Ok(tx.commit().await?)
    }
}

/// An e-mail that is on record when its job is done.
#[derive(Debug)]
struct Recorded {
    event_id: Uuid,
    at: DateTime<Utc>,
    how: How,
}

#[derive(Debug)]
enum How {
    Logged { name: &'static str, message_id: String },
    Sent,
}

impl Effect for Recorded {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        async move {
            match &self.how {
                How::Logged { name, message_id } => {
                    store::insert_logged(conn, self.event_id, name, message_id, self.at).await
                }
                How::Sent => store::mark_sent(conn, self.event_id, self.at).await,
            }
        }
        .boxed()
    }
}

/// The address with its domain as DNS knows it (RFC 5890). So only a name in another script needs a server with SMTPUTF8.
fn routed(address: &Address) -> Address {
    let domain = idna::domain_to_ascii(address.domain()).ok();
    domain.and_then(|domain| Address::new(address.user(), domain).ok()).unwrap_or_else(|| address.clone())
}

/// Dead at once: no look-up can resolve the doubt, so a retry would only delay the alert.
fn in_doubt(why: &str) -> Failure {
    Failure::Dead(format!(
        "the e-mail may have gone out ({why}), so it is not sent again; if you retry the job, it is sent again"
    ))
}

fn failure(not_sent: NotSent) -> Failure {
    match not_sent {
        NotSent::Down(why) => Failure::Unavailable(why),
        NotSent::Later(why) => Failure::Retry(why),
        NotSent::Never(why) => Failure::Dead(why),
        NotSent::Unknown(why) => in_doubt(&why),
    }
}
