//! `refund.initiated` → the gateway pays the refund, exactly once, and `refund.processed`.
//!
//! The command service has committed the refund's row before there is a job, with its amount and its idempotency key, so every
//! attempt of every worker asks for the same payment. Where an earlier call may have succeeded, the worker looks the key up at
//! the gateway before it uses the key again.
//!
//! A refund is FAILED only when the gateway refused it for good and a look-up found no payment. Then its job is done: whether it
//! is tried again is decided by a command. Anything else is tried again for as long as it takes: money may be on its way.

mod gateway;
mod store;

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::audit::{ChainLink, Impersonal, Personal};
use contracts::{
    ActorType, EntityType, EventType, GatewayRefund, GatewayRefundRequest, GatewayRefundStatus, RefundDocument,
    RefundStatus, Trigger,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use messaging::inbox::Job;
use messaging::worker::{Completed, Effect, Failure, Handler};
use runtime::database::limited;
use runtime::{Clock, Ids, faults};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::alerts::{About, Alerts};
use crate::events;

pub(crate) use gateway::Gateway;
pub(crate) use store::waiting;

use gateway::GatewayError;
use store::{Change, Known};

/// Pays refunds.
#[derive(Debug)]
pub(crate) struct Refunds {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) gateway: Gateway,
    pub(crate) alerts: Alerts,
    /// How long a refund is in doubt before its customer is told.
    pub(crate) notice: Duration,
}

/// What the gateway has said for good.
enum Settled {
    Paid(GatewayRefund),
    Refused(String),
}

impl Handler for Refunds {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        let refund = events::snapshot::<RefundDocument>(job)?;
        let known = limited(store::find(&self.pool, refund.id)).await?;
        let known = known.ok_or_else(|| Failure::Dead(format!("there is no refund {}", refund.id)))?;
        faults::point("refund.row.read");
        match known.status() {
            Some(RefundStatus::Pending | RefundStatus::InDoubt) => {}
            // An operator has retried a job whose refund has ended.
            ended => return Ok(Completed::new(json!({ "skipped": format!("the refund is {}", named(ended)) }))),
        }
        let settled = self.settle(job, &refund, &known).await?;
        faults::point("refund.paid");
        Ok(self.completed(job, &refund, settled))
    }

    async fn in_doubt(&self, conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
        let Ok(refund) = events::snapshot::<RefundDocument>(job) else { return Ok(()) };
        let (at, caused) = (self.clock.now(), Caused::by(job));
        let change = Change {
            from: &[RefundStatus::Pending.as_str()],
            to: RefundStatus::InDoubt,
            reason: Some(reason),
            transaction_id: None,
            gateway_reference: None,
            event_id: self.ids.next(),
            event_type: EventType::RefundInDoubt,
            at,
        };
        store::change(&mut *conn, refund.id, &change, &caused).await?;
        store::note_delay(conn, refund.id, at - self.notice, at, self.ids.next(), &caused).await
    }
}

impl Refunds {
    /// Asks the gateway for the payment. Looks the key up first where an earlier attempt may have succeeded.
    async fn settle(&self, job: &Job, refund: &RefundDocument, known: &Known) -> Result<Settled, Failure> {
        let asked_before = job.attempts > 1
            || job.in_doubt
            || known.waiting_event_id.is_some()
            || known.status() == Some(RefundStatus::InDoubt)
            || job.event_type == EventType::RefundRetried.as_str();
        let (key, found) = if asked_before { self.looked_up(job, refund).await? } else { (refund.gateway_key(), None) };
        if let Some(found) = found {
            return self.judged(job.event_id, refund, known, found).await;
        }
        let request = GatewayRefundRequest {
            return_id: refund.return_id,
            refund_id: refund.return_id.is_none().then_some(refund.id),
            amount: refund.amount_minor,
            currency: refund.currency.clone(),
            payment_transaction_id: refund.payment_transaction_id.clone(),
        };
        match self.gateway.refund(key, &request, job.headers.request_id.as_deref()).await {
            Ok(answer) => self.judged(job.event_id, refund, known, answer).await,
            Err(down @ GatewayError::Unavailable(_)) => Err(Failure::Unavailable(down.to_string())),
            Err(later @ GatewayError::Later(_)) => Err(Failure::Retry(later.to_string())),
            Err(unknown @ GatewayError::Unknown(_)) => Err(Failure::InDoubt(unknown.to_string())),
            Err(refused @ GatewayError::Refused(_)) => {
                self.refused(job.event_id, key, refund, known, refused.to_string()).await
            }
        }
    }

    /// The key of this attempt, and what the gateway has under it.
    ///
    /// A gateway answers a repeat under a key as it answered the first request, so what failed there stays FAILED. A refund that is
    /// retried after that has the retry's own key. Nothing will be paid under the earlier one.
    async fn looked_up(&self, job: &Job, refund: &RefundDocument) -> Result<(Uuid, Option<GatewayRefund>), Failure> {
        let look_up = async |key| self.gateway.look_up(key).await.map_err(not_looked_up);
        let first = refund.gateway_key();
        if job.event_type != EventType::RefundRetried.as_str() {
            return Ok((first, look_up(first).await?));
        }
        if let Some(found) = look_up(job.event_id).await? {
            return Ok((job.event_id, Some(found)));
        }
        match look_up(first).await? {
            Some(failed) if failed.status == GatewayRefundStatus::Failed => Ok((job.event_id, None)),
            found => Ok((first, found)),
        }
    }

    /// The gateway has refused the request. Whether it has paid an earlier one under the same key, only a look-up tells.
    async fn refused(
        &self,
        event_id: Uuid,
        key: Uuid,
        refund: &RefundDocument,
        known: &Known,
        reason: String,
    ) -> Result<Settled, Failure> {
        match self.gateway.look_up(key).await {
            Ok(None) => Ok(Settled::Refused(reason)),
            Ok(Some(found)) => self.judged(event_id, refund, known, found).await,
            Err(error) => Err(Failure::InDoubt(format!("{reason}; {error}"))),
        }
    }

    /// What an answer of the gateway means. One about another refund or amount needs an operator.
    async fn judged(
        &self,
        event_id: Uuid,
        refund: &RefundDocument,
        known: &Known,
        answer: GatewayRefund,
    ) -> Result<Settled, Failure> {
        let GatewayRefund { transaction_id, amount, currency, .. } = &answer;
        let (about, key) = (answer.about(), refund.gateway_key());
        if (about, *amount, currency) != (Some(key), refund.amount_minor, &refund.currency) {
            let about = about.map_or_else(|| "nothing".to_owned(), |id| id.to_string());
            return Err(Failure::Dead(format!(
                "the gateway's refund {transaction_id} is of {amount} {currency} for {about}; ours is of {} {} for {key}",
                refund.amount_minor, refund.currency,
            )));
        }
        match answer.status {
            GatewayRefundStatus::Success => Ok(Settled::Paid(answer)),
            GatewayRefundStatus::Failed => {
                Ok(Settled::Refused(format!("the gateway's refund {} failed there", answer.transaction_id)))
            }
            GatewayRefundStatus::Pending => {
                if known.waiting_event_id != Some(event_id) {
                    limited(store::note_waiting(&self.pool, refund.id, event_id)).await?;
                }
                let why = format!("the gateway's refund {} is under way", answer.transaction_id);
                Err(Failure::UnderWay { why, since: answer.created_at })
            }
        }
    }

    /// What the commit of the job writes: what came of the refund, and its event.
    fn completed(&self, job: &Job, refund: &RefundDocument, settled: Settled) -> Completed {
        let (event_id, at, caused) = (self.ids.next(), self.clock.now(), Caused::by(job));
        let amount_minor = refund.amount_minor;
        match settled {
            Settled::Paid(GatewayRefund { transaction_id, reference, .. }) => {
                let result = json!({ "transaction_id": transaction_id, "amount_minor": amount_minor });
                tracing::info!(result = %result, "refund processed");
                let ended = Ended::Paid { transaction_id, reference };
                Completed::with(result, Recorded { refund: refund.id, ended, event_id, at, caused })
            }
            Settled::Refused(reason) => {
                let result = json!({ "failed": reason, "amount_minor": amount_minor });
                tracing::error!(alert = true, refund_id = %refund.id, order_number = %refund.order_number, %reason,
                    "the gateway has refused a refund; once the cause is gone, POST /refunds/{{id}}/retry has it paid");
                metrics::counter!("refunds_failed_total").increment(1);
                let ended = Ended::Refused { reason, alerts: self.alerts.clone(), about: About::job(job) };
                Completed::with(result, Recorded { refund: refund.id, ended, event_id, at, caused })
            }
        }
    }
}

/// Which job caused a change of a refund, for the audit and the trace.
#[derive(Debug)]
struct Caused {
    metadata: serde_json::Value,
    request_id: Option<String>,
    trace_id: Option<String>,
    traceparent: Option<String>,
}

impl Caused {
    fn by(job: &Job) -> Self {
        Self {
            metadata: json!({ "cause": job.event_id, "attempt": job.attempts }),
            request_id: job.headers.request_id.clone(),
            trace_id: runtime::telemetry::trace_id(),
            traceparent: events::traceparent(job),
        }
    }

    /// What the audit row of such a change needs for its place in the chain.
    fn link(&self, id: Uuid, to: RefundStatus, reason: Option<&str>, at: DateTime<Utc>) -> ChainLink {
        let personal = Personal { actor: "system", reason, metadata: &self.metadata, ip_address: None };
        let impersonal = Impersonal {
            entity_type: EntityType::Refund,
            entity_id: id,
            to_state: to.as_str(),
            actor_type: ActorType::System,
            trigger: Trigger::BackgroundJob,
            request_id: self.request_id.as_deref(),
            trace_id: self.trace_id.as_deref(),
            created_at: at,
        };
        ChainLink::new(&personal, &impersonal)
    }
}

/// How a refund ended.
#[derive(Debug)]
enum Ended {
    /// With the gateway's name of it.
    Paid {
        transaction_id: String,
        reference: Option<String>,
    },
    Refused {
        reason: String,
        alerts: Alerts,
        about: About,
    },
}

/// A refund that has ended.
#[derive(Debug)]
struct Recorded {
    refund: Uuid,
    ended: Ended,
    event_id: Uuid,
    at: chrono::DateTime<chrono::Utc>,
    caused: Caused,
}

impl Effect for Recorded {
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>> {
        async move {
            let from = &[RefundStatus::Pending.as_str(), RefundStatus::InDoubt.as_str()][..];
            let (event_id, at) = (self.event_id, self.at);
            let change = match &self.ended {
                Ended::Paid { transaction_id, reference } => Change {
                    from,
                    to: RefundStatus::Processed,
                    reason: None,
                    transaction_id: Some(transaction_id),
                    gateway_reference: reference.as_deref(),
                    event_id,
                    event_type: EventType::RefundProcessed,
                    at,
                },
                Ended::Refused { reason, alerts, about } => {
                    alerts.raise(&mut *conn, "refund is refused", about, reason).await?;
                    Change {
                        from,
                        to: RefundStatus::Failed,
                        reason: Some(reason),
                        transaction_id: None,
                        gateway_reference: None,
                        event_id,
                        event_type: EventType::RefundFailed,
                        at,
                    }
                }
            };
            store::change(conn, self.refund, &change, &self.caused).await
        }
        .boxed()
    }
}

fn named(status: Option<RefundStatus>) -> &'static str {
    status.map_or("in a status that this release does not know", RefundStatus::as_str)
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
