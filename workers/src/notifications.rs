//! Events customers are told about → one message each.
//!
//! Messages are logged, without anything personal in the line; the record in `work.emails` is committed with the
//! job, so a message is made once per event.

use contracts::{EventType, InvoiceDocument, OrderDocument, RefundDocument, ReturnDocument};
use messaging::inbox::Job;
use messaging::worker::{Completed, Failure, Handler};
use runtime::database::limited;
use runtime::{Clock, Ids, faults};
use serde_json::json;
use sqlx::PgPool;

use crate::{change, store};

/// Tells customers.
#[derive(Debug)]
pub(crate) struct Notifications {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
}

/// A message about to be sent.
#[derive(Debug)]
struct Message {
    kind: &'static str,
    subject: String,
    order_number: String,
    has_recipient: bool,
    attachment: Option<String>,
}

impl Handler for Notifications {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let message = compose(job)?;
        let message_id = format!("<{}@articurated>", self.ids.next());
        let result = if message.has_recipient {
            json!({ "kind": message.kind, "message_id": message_id })
        } else {
            json!({ "kind": message.kind, "skipped": "the order has no e-mail address" })
        };
        let completed = limited(self.complete(job, &message, &message_id, &result)).await?;
        if message.has_recipient {
            let Message { kind, subject, order_number, attachment, .. } = message;
            tracing::info!(kind, subject, order_number, attachment, message_id, "e-mail");
        }
        Ok(completed)
    }
}

impl Notifications {
    /// One commit: the e-mail is on record, the job is done.
    async fn complete(
        &self,
        job: &Job,
        message: &Message,
        message_id: &str,
        result: &serde_json::Value,
    ) -> Result<Completed, Failure> {
        let mut tx = self.pool.begin().await?;
        let completed = Completed::mark(&mut tx, job, result).await?;
        if message.has_recipient {
            store::insert_email(&mut tx, job.event_id, message.kind, message_id, self.clock.now()).await?;
        }
        faults::point("notification.completion.ready");
        tx.commit().await?;
        faults::point("notification.completion.committed");
        Ok(completed)
    }
}

fn compose(job: &Job) -> Result<Message, Failure> {
    let message = |kind, subject, order_number: &str, email: Option<&String>, attachment| Message {
        kind,
        subject,
        order_number: order_number.to_owned(),
        has_recipient: email.is_some(),
        attachment,
    };
    match job.event_type() {
        Some(EventType::OrderCreated) => {
            let order = change::snapshot::<OrderDocument>(job)?;
            let subject = format!("Your order {} is confirmed", order.order_number);
            Ok(message("order_confirmation", subject, &order.order_number, order.customer_email.as_ref(), None))
        }
        Some(EventType::InvoiceGenerated) => {
            let invoice = change::snapshot::<InvoiceDocument>(job)?;
            let subject = format!("Your order {} is on its way", invoice.order_number);
            let email = invoice.customer_email.as_ref();
            Ok(message("order_shipped", subject, &invoice.order_number, email, Some(invoice.path.clone())))
        }
        Some(EventType::ReturnApproved) => {
            let returned = change::snapshot::<ReturnDocument>(job)?;
            let subject = format!("Your return for order {} is approved", returned.order_number);
            Ok(message("return_approved", subject, &returned.order_number, returned.customer_email.as_ref(), None))
        }
        Some(EventType::ReturnRejected) => {
            let returned = change::snapshot::<ReturnDocument>(job)?;
            let subject = format!("About your return for order {}", returned.order_number);
            Ok(message("return_rejected", subject, &returned.order_number, returned.customer_email.as_ref(), None))
        }
        Some(EventType::RefundProcessed) => {
            let refund = change::snapshot::<RefundDocument>(job)?;
            let subject = format!("Your refund for order {} is on its way", refund.order_number);
            Ok(message("refund_processed", subject, &refund.order_number, refund.customer_email.as_ref(), None))
        }
        _ => Err(Failure::Dead(format!("no message is made for {} events", job.event_type))),
    }
}
