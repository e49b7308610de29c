//! `return.completed` → the gateway pays the refund, exactly once, and `refund.processed`.
//!
//! The refund row with its idempotency key (the return's id) is committed before the first call, so every later
//! attempt, by whichever worker, asks for the same payment. Whenever an earlier call may have succeeded, the key
//! is looked up at the gateway before it is used again.

use contracts::{
    EntityType, EventType, GatewayRefund, GatewayRefundRequest, RefundDocument, RefundStatus, ReturnDocument,
    StateChanged,
};
use messaging::inbox::Job;
use messaging::outbox::{self, NewEvent};
use messaging::worker::{Completed, Failure, Handler};
use runtime::database::{in_transaction, limited};
use runtime::{Clock, Ids, faults};
use sqlx::{PgConnection, PgPool};

use crate::change;
use crate::gateway::{Gateway, GatewayError};
use crate::store::{self, RefundRow};

/// Pays refunds.
#[derive(Debug)]
pub(crate) struct Refunds {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) gateway: Gateway,
}

impl Handler for Refunds {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let returned = change::snapshot::<ReturnDocument>(job)?;
        let row = self.initiate(job, &returned).await?;
        faults::point("refund.row.committed");
        let transaction_id = match &row.transaction_id {
            Some(paid_before) => paid_before.clone(),
            None => self.pay(job, &returned).await?,
        };
        faults::point("refund.paid");
        limited(self.complete(job, &returned, &row, transaction_id)).await
    }

    async fn dead_lettered(&self, conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
        let Ok(returned) = change::snapshot::<ReturnDocument>(job) else { return Ok(()) };
        let Some(row) = store::lock_refund(conn, returned.id).await? else { return Ok(()) };
        if row.status != RefundStatus::Pending.as_str() {
            return Ok(());
        }
        store::mark_refund_failed(conn, row.id).await?;
        let at = self.clock.now();
        let mut transition =
            change::by_worker(job, EntityType::Refund, row.id, row.version + 1, Some(&row.status), "FAILED", at);
        transition.reason = Some(reason.to_owned());
        let snapshot = document(&returned, &row, RefundStatus::Failed, row.version + 1);
        let event = StateChanged { snapshot, transition };
        self.record(conn, job, EventType::RefundFailed, &event).await
    }
}

impl Refunds {
    /// The refund's row; committed, with its first event, before anything is asked of the gateway.
    async fn initiate(&self, job: &Job, returned: &ReturnDocument) -> Result<RefundRow, Failure> {
        let (return_id, order_id) = (returned.id, returned.order_id);
        let (amount, currency) = (returned.refund_amount_minor, returned.currency.clone());
        let (id, at) = (self.ids.next(), self.clock.now());
        let transition = change::by_worker(job, EntityType::Refund, id, 1, None, "PENDING", at);
        let (event_id, headers, returned) = (self.ids.next(), change::headers(job), returned.clone());
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::lock_refund(conn, return_id).await? {
                    return Ok(row);
                }
                let row = store::insert_refund(conn, id, return_id, order_id, amount, &currency, at).await?;
                let change = StateChanged { snapshot: document(&returned, &row, RefundStatus::Pending, 1), transition };
                let event =
                    NewEvent { event_id, event_type: EventType::RefundInitiated, headers: &headers, change: &change };
                outbox::record(conn, &event).await?;
                store::keep_refund_document(conn, &change.snapshot).await?;
                Ok::<_, Failure>(row)
            })
        })
        .await
    }

    /// Asks the gateway, after looking the key up where an earlier attempt may have got through.
    async fn pay(&self, job: &Job, returned: &ReturnDocument) -> Result<String, Failure> {
        if returned.refund_amount_minor == 0 {
            return Ok("nothing-to-pay".to_owned());
        }
        if (job.attempts > 1 || job.in_doubt)
            && let Some(paid) = self.gateway.look_up(returned.id).await.map_err(|error| in_doubt(&error))?
        {
            return verified(&paid, returned);
        }
        let request = GatewayRefundRequest {
            return_id: returned.id,
            amount: returned.refund_amount_minor,
            currency: returned.currency.clone(),
        };
        match self.gateway.refund(&request, job.headers.request_id.as_deref()).await {
            Ok(paid) => verified(&paid, returned),
            Err(GatewayError::NotSent(reason)) => Err(Failure::Retry(reason)),
            Err(GatewayError::Refused(reason)) => Err(Failure::Dead(reason)),
            Err(unknown @ GatewayError::Unknown(_)) => Err(in_doubt(&unknown)),
        }
    }

    /// One commit: the refund is processed, the job is done, the event is out.
    async fn complete(
        &self,
        job: &Job,
        returned: &ReturnDocument,
        row: &RefundRow,
        transaction_id: String,
    ) -> Result<Completed, Failure> {
        let at = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let result = serde_json::json!({ "transaction_id": transaction_id, "amount_minor": row.amount_minor });
        let completed = Completed::mark(&mut tx, job, &result).await?;
        if store::mark_refund_processed(&mut tx, row.id, &transaction_id, at).await? {
            let version = row.version + 1;
            let transition =
                change::by_worker(job, EntityType::Refund, row.id, version, Some(&row.status), "PROCESSED", at);
            let mut snapshot = document(returned, row, RefundStatus::Processed, version);
            snapshot.transaction_id = Some(transaction_id);
            snapshot.processed_at = Some(at);
            self.record(&mut tx, job, EventType::RefundProcessed, &StateChanged { snapshot, transition }).await?;
        }
        faults::point("refund.completion.ready");
        tx.commit().await?;
        faults::point("refund.completion.committed");
        tracing::info!(result = %result, "refund processed");
        Ok(completed)
    }

    async fn record(
        &self,
        conn: &mut PgConnection,
        job: &Job,
        event_type: EventType,
        change: &StateChanged<RefundDocument>,
    ) -> sqlx::Result<()> {
        let headers = change::headers(job);
        outbox::record(conn, &NewEvent { event_id: self.ids.next(), event_type, headers: &headers, change }).await?;
        store::keep_refund_document(conn, &change.snapshot).await
    }
}

fn in_doubt(error: &GatewayError) -> Failure {
    Failure::InDoubt(error.to_string())
}

/// A payment is ours only if it is the right one: an answer for another return or amount needs a person.
fn verified(paid: &GatewayRefund, returned: &ReturnDocument) -> Result<String, Failure> {
    let expected = (returned.id, returned.refund_amount_minor, returned.currency.as_str());
    if (paid.return_id, paid.amount, paid.currency.as_str()) == expected {
        return Ok(paid.transaction_id.clone());
    }
    Err(Failure::Dead(format!(
        "the gateway's refund {} is for return {}, {} {}; expected {}, {} {}",
        paid.transaction_id, paid.return_id, paid.amount, paid.currency, expected.0, expected.1, expected.2,
    )))
}

fn document(returned: &ReturnDocument, row: &RefundRow, status: RefundStatus, version: i32) -> RefundDocument {
    RefundDocument {
        id: row.id,
        return_id: returned.id,
        order_id: returned.order_id,
        order_number: returned.order_number.clone(),
        customer_id: returned.customer_id.clone(),
        customer_email: returned.customer_email.clone(),
        status,
        version,
        amount_minor: row.amount_minor,
        currency: row.currency.clone(),
        transaction_id: None,
        created_at: row.created_at,
        processed_at: None,
    }
}
