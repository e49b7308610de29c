//! On RabbitMQ, sent is not arrived: a broker may lose what it has confirmed, or give it up, and a consumer may be away for
//! weeks. So the relays look whether the events that went out have their rows in the inbox.
//!
//! - They store up to where all of them have: the mark of arrivals. Retention drops nothing above it.
//! - What has been out for a time (`RABBITMQ_RESEND_AFTER`) and has not arrived, while the queue on the broker is empty, is
//!   sent again.
//! - What has come to the dead-letter queue goes into the inbox at once, since the event is in the log.
//!
//! "Empty" counts no message that a consumer holds. If one holds messages for so long, the inbox drops what is sent again. An
//! event goes out again at most once in that time.

use std::time::{Duration, Instant};

use contracts::Queue;
use messaging::leases::Leases;
use messaging::log::Arrivals;
use messaging::rabbitmq::Watch;
use messaging::{BatchSize, log};
use runtime::Tasks;
use runtime::database::limited;
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::error::RelayError;
use crate::store::arrivals::{self, Delivered, Lost};
use crate::store::exceptions;
use crate::store::forward::Routes;

/// How often a relay looks.
const EVERY: Duration = Duration::from_secs(2);
/// Most positions in one look.
const WINDOW: i64 = 5_000;
/// How long a relay leaves a broker alone that did not answer.
const BROKER_PAUSE: Duration = Duration::from_secs(5);

/// Follows the arrivals of the events that one relay sends.
#[derive(Debug)]
pub(crate) struct ArrivalFollower {
    pool: PgPool,
    url: SecretString,
    relay: String,
    resend_after: Duration,
    leases: watch::Receiver<Leases>,
    routes: Routes,
    arrivals: Arrivals,
    size: BatchSize,
    /// `None` until it is needed, and after an error.
    broker: Option<Watch>,
    broker_at: Instant,
}

impl ArrivalFollower {
    pub(crate) fn new(
        pool: PgPool,
        url: SecretString,
        relay: String,
        resend_after: Duration,
        leases: watch::Receiver<Leases>,
    ) -> Self {
        let (routes, arrivals, size) = (Routes::new(), Arrivals::default(), BatchSize::new("arrivals", WINDOW));
        Self { pool, url, relay, resend_after, leases, routes, arrivals, size, broker: None, broker_at: Instant::now() }
    }

    /// Looks for arrivals until shutdown.
    pub(crate) async fn run(mut self, tasks: Tasks) {
        let mut turn = tokio::time::interval(EVERY);
        let mut next = async || {
            turn.tick().await;
            self.tick().await
        };
        while let Some(ticked) = tasks.shutdown.run_until_cancelled(next()).await {
            if let Err(error) = ticked {
                tracing::warn!(%error, "could not look for arrivals; retrying in {EVERY:?}");
            }
        }
    }

    /// Moves the mark, and brings to their queues what the broker did not.
    async fn tick(&mut self) -> sqlx::Result<()> {
        let leases = self.leases.borrow().clone();
        // The relay has stopped at these, and their marks would hold up the others.
        let full = limited(exceptions::full(&self.pool, &leases)).await?;
        let leases = leases.without(&full);
        if leases.shards.is_empty() {
            return Ok(());
        }
        let is_behind = self.move_mark(&leases).await?;
        if Instant::now() < self.broker_at {
            return Ok(());
        }
        match self.recover(&leases, is_behind).await {
            Ok(()) => Ok(()),
            Err(RelayError::Database(error)) => Err(error),
            Err(RelayError::Broker(error)) => {
                tracing::warn!(%error, "could not look at RabbitMQ's queues; retrying in {BROKER_PAUSE:?}");
                self.broker = None;
                self.broker_at = Instant::now() + BROKER_PAUSE;
                Ok(())
            }
        }
    }

    /// Moves the mark as far as it goes, window by window. Returns whether something is out that has not arrived.
    async fn move_mark(&mut self, leases: &Leases) -> sqlx::Result<bool> {
        let standing = limited(arrivals::standing(&self.pool, leases)).await?;
        self.arrivals.stand_at(standing.arrived, standing.sent);
        let mut is_behind = limited(arrivals::forget_arrived(&self.pool, leases, &self.routes)).await?;
        while let Some(window) = self.arrivals.ahead(self.size.rows()) {
            let rows = window.until - window.after;
            let missing = limited(arrivals::first_missing(&self.pool, leases, &self.routes, window)).await;
            let missing = missing.inspect_err(|error| self.size.failed(rows, error))?;
            self.size.succeeded(rows);
            let mark = self.arrivals.saw(window, missing);
            if mark > window.after {
                limited(log::record_arrival(&self.pool, leases, mark)).await?;
            }
            if missing.is_some() {
                is_behind = true;
                break;
            }
        }
        Ok(is_behind)
    }

    async fn recover(&mut self, leases: &Leases, is_behind: bool) -> Result<(), RelayError> {
        let broker = match self.broker.take() {
            Some(broker) => broker,
            None => Watch::connect(&self.url).await?,
        };
        let broker = self.broker.insert(broker);
        deliver_dead_letters(&self.pool, &self.relay, &self.routes, broker).await?;
        if !is_behind {
            return Ok(());
        }
        let empty = broker.empty_queues().await?;
        let routes = self.routes.to(&empty);
        let window = self.arrivals.sweep(self.size.rows());
        let due = limited(arrivals::due(&self.pool, leases, &routes, window, self.resend_after)).await;
        let rows = window.map_or(self.size.rows(), |window| window.until - window.after);
        let due = due.inspect_err(|error| self.size.failed(rows, error))?;
        let again = limited(arrivals::resend(&self.pool, &self.relay, leases, &due)).await?;
        for queue in empty {
            let event_ids: Vec<_> = again.iter().filter(|lost| lost.queue == queue).map(|lost| lost.event_id).collect();
            if !event_ids.is_empty() {
                count(queue, arrivals::NOT_ARRIVED, event_ids.len());
                tracing::warn!(%queue, ?event_ids, after = ?self.resend_after, "events did not arrive; sending them again");
            }
        }
        Ok(())
    }
}

fn count(queue: Queue, reason: &str, events: usize) {
    metrics::counter!("broker_losses_total", "queue" => queue.as_str(), "reason" => reason.to_owned())
        .increment(events as u64);
}

/// Puts the events of dead letters into the inboxes of their queues. Letters without an event of the log stay, for an operator.
async fn deliver_dead_letters(
    pool: &PgPool,
    relay: &str,
    routes: &Routes,
    broker: &mut Watch,
) -> Result<(), RelayError> {
    let letters = broker.dead_letters().await?;
    if letters.is_empty() {
        return Ok(());
    }
    let arrived = limited(arrivals::deliver(pool, relay, routes, &letters)).await?;
    for letter in &letters {
        let found = arrived.iter().find(|found| letter.event == Some((found.lost.event_id, found.lost.queue)));
        let reason = &letter.reason;
        match found {
            Some(Delivered { lost: Lost { event_id, queue }, is_new: true }) => {
                count(*queue, reason, 1);
                tracing::warn!(event.id = %event_id, %queue, reason, "event of a dead letter put into the inbox");
            }
            Some(_) => {}
            None => {
                tracing::warn!(event = ?letter.event, reason, "a dead letter is of no event in the outbox; it stays");
            }
        }
        broker.settle(letter, found.is_some()).await?;
    }
    Ok(())
}
