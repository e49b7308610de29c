//! Takes deliveries that are due, and settles them.
//!
//! A delivery is claimed for longer than an attempt may take. If its worker dies, another one sends it again after that: an endpoint
//! gets an event at least once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use access::ConsistencyKey;
use contracts::{EventDocument, EventName};
use reqwest::StatusCode;
use runtime::database::limited;
use runtime::telemetry::{self, Cause};
use runtime::{Clock, Ids, Tasks};
use sqlx::PgPool;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::WebhookSettings;
use super::schedule::{GIVE_UP_AFTER, wait};
use super::sender::{Attempt, Sender, Target};
use super::store::{self, Bounds, Claimed, Failed, Room};
use crate::alerts::Alerts;

/// Between two looks, if nothing wakes it before.
const LOOK: Duration = Duration::from_millis(500);
/// Added to the longest attempt: the claim outlives it.
const SETTLING: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) struct Deliverer {
    pool: PgPool,
    sender: Sender,
    key: ConsistencyKey,
    alerts: Alerts,
    clock: Clock,
    ids: Ids,
    slots: Arc<Semaphore>,
    all_slots: u32,
    /// To one endpoint, so that a slow one leaves room for the others.
    most_per_endpoint: usize,
    under_way: Arc<Mutex<HashMap<Uuid, usize>>>,
    hold: Duration,
    wake: Arc<Notify>,
}

impl Deliverer {
    #[expect(clippy::too_many_arguments, reason = "it is called once, and each is another thing")]
    pub(super) fn new(
        pool: PgPool,
        sender: Sender,
        key: ConsistencyKey,
        alerts: Alerts,
        clock: Clock,
        ids: Ids,
        settings: &WebhookSettings,
        wake: Arc<Notify>,
    ) -> Self {
        let slots = usize::from(settings.webhook_slots);
        Self {
            pool,
            sender,
            key,
            alerts,
            clock,
            ids,
            slots: Arc::new(Semaphore::new(slots)),
            all_slots: u32::from(settings.webhook_slots),
            most_per_endpoint: slots.div_ceil(4),
            under_way: Arc::default(),
            hold: settings.webhook_timeout + SETTLING,
            wake,
        }
    }

    /// Delivers until shutdown. What is under way then is settled; what is not started stays due.
    pub(super) async fn run(self, tasks: Tasks) {
        let mut bounds = Bounds::default();
        while !tasks.shutdown.is_cancelled() {
            if let Err(error) = limited(bounds.renew(&self.pool)).await {
                tracing::warn!(%error, "could not look at all webhooks");
            }
            match limited(self.tick(&bounds)).await {
                Ok(0) => tokio::select! {
                    () = tasks.shutdown.cancelled() => {}
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(LOOK) => {}
                },
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not look for webhooks");
                    tokio::select! { () = tasks.shutdown.cancelled() => {}, () = tokio::time::sleep(LOOK) => {} }
                }
            }
        }
        let _all_ended = self.slots.acquire_many(self.all_slots).await;
    }

    /// Starts what is due, as far as there is room. Returns how many it has looked at.
    async fn tick(&self, bounds: &Bounds) -> sqlx::Result<usize> {
        let free = self.slots.available_permits();
        if free == 0 {
            return Ok(0);
        }
        let left: Vec<(Uuid, i64)> = {
            let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let left = |busy: usize| i64::try_from(self.most_per_endpoint.saturating_sub(busy)).unwrap_or(0);
            under_way.iter().map(|(endpoint, busy)| (*endpoint, left(*busy))).collect()
        };
        let most = i64::try_from(self.most_per_endpoint).unwrap_or(i64::MAX);
        let free = i64::try_from(free).unwrap_or(i64::MAX);
        let room = Room { left, most, free };
        let due = store::claim(&self.pool, self.ids.next(), &room, bounds, self.hold).await?;
        let looked_at = due.looked_at;
        for claimed in due.claimed {
            let Ok(permit) = self.slots.clone().try_acquire_owned() else { break };
            let counted = Counted::start(&self.under_way, claimed.endpoint_id);
            tokio::spawn(self.clone().deliver(claimed, permit, counted));
        }
        Ok(looked_at)
    }

    async fn deliver(self, claimed: Claimed, permit: OwnedSemaphorePermit, counted: Counted) {
        let attempt = match self.body(&claimed) {
            Ok(body) => {
                let secrets = std::iter::once(claimed.secret.as_str()).chain(claimed.previous_secret.as_deref());
                let target = Target { url: &claimed.url, secrets: secrets.collect() };
                runtime::faults::point("webhook.claimed");
                self.sender.send(&target, claimed.event_id, body, self.clock.now()).instrument(span_of(&claimed)).await
            }
            Err(error) => Attempt { duration: Duration::ZERO, status: None, error: Some(error), retry_after: None },
        };
        runtime::faults::point("webhook.sent");
        self.measure(&claimed, &attempt);
        if let Err(error) = limited(self.settle(&claimed, &attempt)).await {
            // It is tried again once the claim has expired.
            tracing::warn!(event.id = %claimed.event_id, endpoint.id = %claimed.endpoint_id, %error, "a webhook was not settled");
        }
        drop((permit, counted));
        self.wake.notify_one();
    }

    fn measure(&self, claimed: &Claimed, attempt: &Attempt) {
        let outcome = if attempt.error.is_none() { "delivered" } else { "failed" };
        metrics::counter!("webhook_attempts_total", "outcome" => outcome).increment(1);
        metrics::histogram!("webhook_attempt_duration_seconds", "outcome" => outcome).record(attempt.duration);
        if let (None, 1, Some(occurred_at)) = (&attempt.error, claimed.attempts, claimed.occurred_at) {
            let waited = (self.clock.now() - occurred_at).to_std().unwrap_or_default();
            metrics::histogram!("webhook_delivery_seconds").record(waited);
        }
    }

    fn body(&self, claimed: &Claimed) -> Result<String, String> {
        if let Some(body) = &claimed.body {
            return Ok(body.clone());
        }
        let payload = claimed.payload.as_deref().ok_or("the event is not in the outbox any more")?;
        let name = EventName {
            id: claimed.event_id,
            event_type: &claimed.event_type,
            timestamp: claimed.occurred_at.ok_or("the event is not in the outbox any more")?,
            entity_type: claimed.aggregate_type.as_deref().unwrap_or_default(),
            entity_id: claimed.aggregate_id,
            version: claimed.aggregate_version,
        };
        let token = self.key.token(name.entity_type, name.entity_id, name.version);
        EventDocument::text(&name, payload, &token).map_err(|error| format!("the event cannot be read: {error}"))
    }

    async fn settle(&self, claimed: &Claimed, attempt: &Attempt) -> sqlx::Result<()> {
        let mut tx = self.pool.begin().await?;
        let at = self.clock.now();
        match &attempt.error {
            None => {
                store::delivered(&mut tx, claimed, attempt, at).await?;
            }
            Some(error) => {
                let wait = wait(claimed.tries, attempt.retry_after);
                let gone = attempt.status == Some(StatusCode::GONE);
                let failed = Failed { error, wait, gone, give_up_after: GIVE_UP_AFTER };
                let disabled = store::failed(&mut tx, claimed, attempt, &failed, at).await?;
                let about = serde_json::json!({
                    "endpoint_id": claimed.endpoint_id, "url": host_of(&claimed.url), "event_id": claimed.event_id,
                    "event_type": claimed.event_type, "attempts": claimed.attempts,
                });
                if let Some(reason) = disabled {
                    tracing::error!(alert = true, endpoint.id = %claimed.endpoint_id, reason, "a webhook endpoint was disabled");
                    self.alerts.raise_about(&mut tx, "webhook endpoint is disabled", about, &reason).await?;
                } else if wait.is_none() {
                    tracing::error!(alert = true, event.id = %claimed.event_id, endpoint.id = %claimed.endpoint_id, error, "a webhook was given up");
                    self.alerts.raise_about(&mut tx, "webhook was given up", about, error).await?;
                }
            }
        }
        tx.commit().await
    }
}

/// A delivery belongs to the trace of the command at the first attempt, and has a trace of its own at each later one. The endpoint is
/// told of neither.
fn span_of(claimed: &Claimed) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "webhook.event.send",
        otel.kind = "client",
        otel.name = "POST",
        event.id = %claimed.event_id,
        endpoint.id = %claimed.endpoint_id,
        attempt = claimed.attempts,
    );
    let traceparent = claimed.traceparent.as_deref();
    telemetry::follow(&span, if claimed.attempts == 1 { Cause::Parent(traceparent) } else { Cause::Link(traceparent) });
    span
}

/// An address may contain a secret; its host does not.
fn host_of(url: &str) -> String {
    reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// Counts a delivery under way to its endpoint until it is dropped.
#[derive(Debug)]
struct Counted {
    under_way: Arc<Mutex<HashMap<Uuid, usize>>>,
    endpoint_id: Uuid,
}

impl Counted {
    fn start(under_way: &Arc<Mutex<HashMap<Uuid, usize>>>, endpoint_id: Uuid) -> Self {
        *under_way.lock().unwrap_or_else(PoisonError::into_inner).entry(endpoint_id).or_default() += 1;
        Self { under_way: under_way.clone(), endpoint_id }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&self.endpoint_id) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.endpoint_id);
            }
        }
    }
}
