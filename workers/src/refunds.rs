//! `return.completed` → the gateway pays the refund, exactly once, and `refund.processed`.
//!
//! The refund's row is committed before the first call, and its idempotency key is the return's id, so every later attempt
//! of every worker asks for the same payment. Where an earlier call may have succeeded, the worker looks the key up at the
//! gateway before it uses the key again.
//!
//! A refund has FAILED only when the gateway refused it for good and a look-up found no payment. Anything else is tried again
//! for as long as it takes: money may be on its way.

mod gateway;
mod store;

use chrono::{DateTime, Utc};
use contracts::{
    EntityType, EventType, GatewayRefund, GatewayRefundRequest, RefundDocument, RefundStatus, ReturnDocument,
    StateChanged,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::worker::{Completed, Effect, Failure, Handler};
use runtime::database::in_transaction;
use runtime::{Clock, Ids, faults};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::events::{self, Caused};

pub(crate) use gateway::Gateway;
pub(crate) use store::page;

use gateway::GatewayError;
use store::RefundRow;

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
        let returned = events::snapshot::<ReturnDocument>(job)?;
        let row = self.initiate(job, &returned).await?;
        faults::point("refund.row.committed");
        let transaction_id = match &row.transaction_id {
            Some(paid_before) => paid_before.clone(),
            None => self.pay(job, &returned).await?,
        };
        faults::point("refund.paid");
        Ok(self.completed(job, &returned, &row, transaction_id))
    }

    async fn dead_lettered(&self, conn: &mut PgConnection, job: &Job, failure: &Failure) -> sqlx::Result<()> {
        let Failure::Refused(reason) = failure else { return Ok(()) };
        let Ok(returned) = events::snapshot::<ReturnDocument>(job) else { return Ok(()) };
        let Some(row) = store::lock(conn, returned.id).await? else { return Ok(()) };
        if row.status != RefundStatus::Pending.as_str() {
            return Ok(());
        }
        store::mark_failed(conn, row.id).await?;
        let (version, at) = (row.version + 1, self.clock.now());
        let mut transition = events::transition(
            job,
            EntityType::Refund,
            row.id,
            version,
            Some(&row.status),
            RefundStatus::Failed.as_str(),
            at,
        );
        transition.reason = Some(reason.clone());
        let change = StateChanged { snapshot: document(&returned, &row, RefundStatus::Failed, version), transition };
        record(conn, self.ids.next(), EventType::RefundFailed, events::traceparent(job).as_deref(), &change).await
    }
}

impl Refunds {
    /// The refund's row. It is committed, with its first event, before the first call to the gateway.
    async fn initiate(&self, job: &Job, returned: &ReturnDocument) -> Result<RefundRow, Failure> {
        let (id, event_id, at) = (self.ids.next(), self.ids.next(), self.clock.now());
        let transition = events::transition(job, EntityType::Refund, id, 1, None, RefundStatus::Pending.as_str(), at);
        let (traceparent, returned) = (events::traceparent(job), returned.clone());
        in_transaction(&self.pool, move |conn| {
            Box::pin(async move {
                if let Some(row) = store::lock(conn, returned.id).await? {
                    return Ok(row);
                }
                let (amount, currency) = (returned.refund_amount_minor, &returned.currency);
                let row = store::insert(conn, id, returned.id, returned.order_id, amount, currency, at).await?;
                let change = StateChanged { snapshot: document(&returned, &row, RefundStatus::Pending, 1), transition };
                record(conn, event_id, EventType::RefundInitiated, traceparent.as_deref(), &change).await?;
                Ok::<_, Failure>(row)
            })
        })
        .await
    }

    /// Asks the gateway for the payment. Looks the key up first where an earlier attempt may have succeeded.
    async fn pay(&self, job: &Job, returned: &ReturnDocument) -> Result<String, Failure> {
        if returned.refund_amount_minor == 0 {
            return Ok("nothing-to-pay".to_owned());
        }
        if (job.attempts > 1 || job.in_doubt)
            && let Some(paid) = self.gateway.look_up(returned.id).await.map_err(not_looked_up)?
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
            Err(down @ GatewayError::Unavailable(_)) => Err(Failure::Unavailable(down.to_string())),
            Err(later @ GatewayError::Later(_)) => Err(Failure::Retry(later.to_string())),
            Err(unknown @ GatewayError::Unknown(_)) => Err(Failure::InDoubt(unknown.to_string())),
            Err(refused @ GatewayError::Refused(_)) => self.refused(returned, &refused.to_string()).await,
        }
    }

    /// The gateway has refused the request. Whether it has paid an earlier one under the same key, only a look-up tells.
    async fn refused(&self, returned: &ReturnDocument, reason: &str) -> Result<String, Failure> {
        match self.gateway.look_up(returned.id).await {
            Ok(None) => Err(Failure::Refused(reason.to_owned())),
            Ok(Some(paid)) => verified(&paid, returned),
            Err(error) => Err(Failure::InDoubt(format!("{reason}; {error}"))),
        }
    }

    /// What the commit of the job writes: the refund is processed, and the event is in the outbox.
    fn completed(&self, job: &Job, returned: &ReturnDocument, row: &RefundRow, transaction_id: String) -> Completed {
        let (at, version) = (self.clock.now(), row.version + 1);
        let result = serde_json::json!({ "transaction_id": transaction_id, "amount_minor": row.amount_minor });
        tracing::info!(result = %result, "refund processed");
        let transition = events::transition(
            job,
            EntityType::Refund,
            row.id,
            version,
            Some(&row.status),
            RefundStatus::Processed.as_str(),
            at,
        );
        let mut snapshot = document(returned, row, RefundStatus::Processed, version);
        snapshot.transaction_id = Some(transaction_id.clone());
        snapshot.processed_at = Some(at);
        let change = StateChanged { snapshot, transition };
        let caused = Caused { event_id: self.ids.next(), traceparent: events::traceparent(job), change };
        Completed::with(result, Paid { refund: row.id, transaction_id, at, caused })
    }
}

/// A refund that the gateway has paid.
#[derive(Debug)]
struct Paid {
    refund: Uuid,
    transaction_id: String,
    at: DateTime<Utc>,
    caused: Caused<RefundDocument>,
}

impl Effect for Paid {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        async move {
            if store::mark_processed(conn, self.refund, &self.transaction_id, self.at).await? {
                let Caused { event_id, traceparent, change } = &self.caused;
                record(conn, *event_id, EventType::RefundProcessed, traceparent.as_deref(), change).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// Writes the event of a change, and keeps its document for [`page`].
async fn record(
    conn: &mut PgConnection,
    event_id: Uuid,
    event_type: EventType,
    traceparent: Option<&str>,
    change: &StateChanged<RefundDocument>,
) -> sqlx::Result<()> {
    events::record(conn, event_id, event_type, traceparent, change).await?;
    store::keep_document(conn, &change.snapshot).await
}

/// Without the answer of the look-up the payment stays in doubt: an outage leaves the job as it was.
fn not_looked_up(error: GatewayError) -> Failure {
    match error {
        down @ GatewayError::Unavailable(_) => Failure::Unavailable(down.to_string()),
        other @ (GatewayError::Later(_) | GatewayError::Refused(_) | GatewayError::Unknown(_)) => {
            Failure::InDoubt(other.to_string())
        }
    }
}

/// The transaction id of a payment that matches the return. A payment for another return or amount needs an operator.
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
