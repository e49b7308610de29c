//! Events customers are told about → one e-mail each, at most.
//!
//! A mail server cannot be asked whether it has accepted an e-mail. So the record in `work.emails` is committed when the
//! server is ready for the text and before it gets any of it. Whoever finds such a record from before sends nothing: the
//! job is dead and the e-mail in doubt, until an operator decides. Without a server e-mails are logged, without anything
//! personal in the line.

use contracts::OrderDocument;
use lettre::Address;
use messaging::inbox::{self, Job};
use messaging::worker::{Completed, Failure, Handler, LEASE};
use runtime::database::limited;
use runtime::{Clock, faults};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};

use crate::mail::{Attachment, NotSent, Occasion, Post, Smtp, letter, store as emails};
use crate::store;

/// Tells customers.
#[derive(Debug)]
pub(crate) struct Notifications {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) post: Post,
}

impl Handler for Notifications {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let occasion = Occasion::of(job)?;
        match (occasion.email(), &self.post.smtp) {
            (None, _) => limited(self.skip(job, &occasion)).await,
            (Some(_), None) => limited(self.log(job, &occasion)).await,
            (Some(recipient), Some(smtp)) => self.send(job, &occasion, recipient, smtp).await,
        }
    }

    async fn dead_lettered(&self, conn: &mut PgConnection, job: &Job, _reason: &str) -> sqlx::Result<()> {
        emails::mark_in_doubt(conn, job.event_id).await
    }
}

impl Notifications {
    async fn skip(&self, job: &Job, occasion: &Occasion) -> Result<Completed, Failure> {
        let mut tx = self.pool.begin().await?;
        let result = json!({ "kind": occasion.kind(), "skipped": "the order has no e-mail address" });
        let completed = Completed::mark(&mut tx, job, &result).await?;
        tx.commit().await?;
        Ok(completed)
    }

    /// One commit: the e-mail is on record, the job is done.
    async fn log(&self, job: &Job, occasion: &Occasion) -> Result<Completed, Failure> {
        let (kind, message_id) = (occasion.kind(), self.post.message_id(job.event_id));
        let mut tx = self.pool.begin().await?;
        let completed = Completed::mark(&mut tx, job, &json!({ "kind": kind, "message_id": message_id })).await?;
        emails::insert_logged(&mut tx, job.event_id, kind, &message_id, self.clock.now()).await?;
        faults::point("notification.completion.ready");
        tx.commit().await?;
        faults::point("notification.completion.committed");
        let (subject, order_number) = (occasion.subject(), occasion.order_number());
        let attachment = occasion.invoice().map(|invoice| invoice.path.as_str());
        tracing::info!(kind, subject, order_number, attachment, message_id, "e-mail");
        Ok(completed)
    }

    async fn send(&self, job: &Job, occasion: &Occasion, to: &str, smtp: &Smtp) -> Result<Completed, Failure> {
        // Not the parser's own words, and not the address: this is logged.
        let to: Address =
            to.parse().map_err(|_| Failure::Dead("the order's customer_email is no e-mail address".to_owned()))?;
        if limited(emails::find(&self.pool, job.event_id)).await?.as_deref() == Some("SENDING") {
            return Err(in_doubt("whoever was handing it over to the mail server has died"));
        }
        let message_id = self.post.message_id(job.event_id);
        let text = self.compose(occasion, to.clone(), &message_id).await?;
        let mut conversation = smtp.begin(&self.post.from.email, &to).await.map_err(failure)?;
        limited(self.record(job, occasion.kind(), &message_id)).await?;
        faults::point("notification.recorded");
        if let Err(why) = conversation.deliver(&text).await {
            if !matches!(why, NotSent::Unknown(_)) {
                limited(self.put_back(job)).await?;
            }
            return Err(failure(why));
        }
        faults::point("notification.sent");
        let completed = limited(self.complete(job, occasion.kind(), &message_id)).await.map_err(accepted)?;
        tracing::info!(kind = occasion.kind(), order_number = occasion.order_number(), message_id, "e-mail sent");
        conversation.end().await;
        Ok(completed)
    }

    /// The whole e-mail, as it goes over the wire.
    async fn compose(&self, occasion: &Occasion, to: Address, message_id: &str) -> Result<Vec<u8>, Failure> {
        let order = self.invoiced(occasion).await?;
        let letter = letter(occasion, order.as_ref(), self.post.return_window_days);
        let attachment = match occasion.invoice() {
            None => None,
            Some(invoice) => {
                let pdf = self.post.pdf(&invoice.path).await.map_err(|error| Failure::Retry(error.to_string()))?;
                if format!("{:x}", Sha256::digest(&pdf)) != invoice.sha256 {
                    return Err(Failure::Dead(format!("{} is not what was stored", invoice.path)));
                }
                Some(Attachment { name: invoice.path.clone(), pdf })
            }
        };
        let message = self.post.message(&letter, to, message_id, self.clock.now(), attachment);
        message.map_err(|error| Failure::Dead(error.to_string()))
    }

    /// The order as it was invoiced; an e-mail can do without.
    async fn invoiced(&self, occasion: &Occasion) -> Result<Option<OrderDocument>, Failure> {
        if matches!(occasion, Occasion::Confirmed(_)) {
            return Ok(None);
        }
        let invoiced = limited(store::invoiced(&self.pool, occasion.order_id())).await?;
        Ok(invoiced.and_then(|invoiced| serde_json::from_value(invoiced.order_document).ok()))
    }

    /// The record, under the lease: a worker that has slept past its own must not hand anything over.
    async fn record(&self, job: &Job, kind: &str, message_id: &str) -> Result<(), Failure> {
        let mut tx = self.pool.begin().await?;
        if !inbox::extend_lease(&mut *tx, job, LEASE).await? {
            return Err(Failure::LeaseLost);
        }
        if !emails::mark_sending(&mut tx, job.event_id, kind, message_id, self.clock.now()).await? {
            return Err(in_doubt("it is on record as handed over"));
        }
        Ok(tx.commit().await?)
    }

    /// The server has accepted nothing: the next attempt may begin anew.
    async fn put_back(&self, job: &Job) -> Result<(), Failure> {
        let mut tx = self.pool.begin().await?;
        if !inbox::extend_lease(&mut *tx, job, LEASE).await? {
            return Err(Failure::LeaseLost);
        }
        emails::mark_refused(&mut tx, job.event_id).await?;
        Ok(tx.commit().await?)
    }

    /// One commit: the e-mail is sent, the job is done.
    async fn complete(&self, job: &Job, kind: &str, message_id: &str) -> Result<Completed, Failure> {
        let mut tx = self.pool.begin().await?;
        let completed = Completed::mark(&mut tx, job, &json!({ "kind": kind, "message_id": message_id })).await?;
        emails::mark_sent(&mut tx, job.event_id, self.clock.now()).await?;
        faults::point("notification.completion.ready");
        tx.commit().await?;
        faults::point("notification.completion.committed");
        Ok(completed)
    }
}

/// There is nobody to look it up with, so that trying again would only put off the moment in which a person is told.
fn in_doubt(why: &str) -> Failure {
    Failure::Dead(format!("the e-mail may have gone out, so it is not sent again ({why}); a retry sends it again"))
}

fn failure(not_sent: NotSent) -> Failure {
    match not_sent {
        NotSent::Later(why) => Failure::Retry(why),
        NotSent::Never(why) => Failure::Dead(why),
        NotSent::Unknown(why) => in_doubt(&why),
    }
}

/// What fails once the server has accepted an e-mail must not send it again.
fn accepted(failure: Failure) -> Failure {
    match failure {
        Failure::LeaseLost => Failure::LeaseLost,
        other => in_doubt(&format!("the mail server has accepted it, and then: {other}")),
    }
}
