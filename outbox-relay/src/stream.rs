//! Outbox → RabbitMQ as a stream of batches. While one batch is on the wire, the relay reads the next and records the one
//! before. No transaction is open while the relay waits for the broker.
//!
//! The order holds because only reading and recording overlap: a batch goes on the wire after all verdicts on the batch
//! before it are in, and without the events of aggregates of which an earlier one failed or waits there.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use messaging::log::Covered;
use messaging::rabbitmq::{BrokerError, EXCHANGE, Publisher};
use runtime::database::limited;
use runtime::telemetry::{Message, MessagingSystem};
use runtime::{Clock, faults};
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use crate::broker::{self, Published};
use crate::error::RelayError;
use crate::outcome::Outcome;
use crate::position::Position;
use crate::row::trace_sent;
use crate::store::look::{Candidate, look};
use crate::store::{self, Pending, exceptions};

/// The way to the broker, and the batches that are on it.
#[derive(Debug)]
pub(crate) struct Stream {
    pool: PgPool,
    url: SecretString,
    relay: String,
    max_attempts: i32,
    clock: Clock,
    publisher: Option<Publisher>,
    /// Read while the batch before it was on the wire.
    ahead: Option<Batch>,
    /// On the wire and answered for, and not recorded yet.
    unrecorded: Option<Unrecorded>,
}

/// Events that go out together.
#[derive(Debug)]
struct Batch {
    events: Vec<Pending>,
    /// Not to be sent: an earlier event of the aggregate must go out first.
    blocked: Vec<Candidate>,
    covered: Covered,
    stopped_at_limit: bool,
}

#[derive(Debug)]
struct Unrecorded {
    outcome: store::Outcome,
    failed: Vec<exceptions::Failed>,
    covered: Covered,
    sent_at: DateTime<Utc>,
    confirmed_at: DateTime<Utc>,
}

impl Stream {
    pub(crate) fn new(pool: PgPool, url: SecretString, relay: String, max_attempts: i32) -> Self {
        let (clock, publisher, ahead, unrecorded) = (Clock::system(), None, None, None);
        Self { pool, url, relay, max_attempts, clock, publisher, ahead, unrecorded }
    }

    /// Ends what was started, before another position takes the place of this one.
    pub(crate) async fn settle(&mut self, position: &mut Position) -> sqlx::Result<()> {
        self.ahead = None;
        self.record(position).await
    }

    /// What was read ahead belongs to a position that is given up.
    pub(crate) fn forget(&mut self) {
        self.ahead = None;
        self.unrecorded = None;
    }

    /// Publishes one batch. The next one that it reads has up to `rows` events.
    pub(crate) async fn tick(&mut self, position: &mut Position, rows: i64) -> Result<Outcome, RelayError> {
        let batch = if let Some(batch) = self.ahead.take() {
            batch
        } else {
            // Otherwise the exceptions that the batch before it caused would not be seen.
            self.record(position).await?;
            read(&self.pool, position, rows).await?
        };
        if batch.events.is_empty() {
            let outcome = if batch.blocked.is_empty() { Outcome::Idle } else { Outcome::CaughtUp };
            let more = batch.stopped_at_limit;
            // If it was read ahead, the batch before it is not recorded yet.
            self.record(position).await?;
            let now = self.clock.now();
            self.unrecorded = Some(answered(&batch, Published::default(), (now, now)));
            self.record(position).await?;
            return Ok(if more { Outcome::Forwarded } else { outcome });
        }
        faults::point("relay.batch.claimed");
        let publisher = match self.publisher.take() {
            Some(publisher) => publisher,
            None => Publisher::connect(&self.url).await?,
        };
        let read_ahead = batch.stopped_at_limit;
        let (sent_at, clock, max_attempts) = (self.clock.now(), self.clock.clone(), self.max_attempts);
        let publish = async {
            let sent = broker::publish(&publisher, &batch.events, max_attempts).await;
            (sent, clock.now())
        };
        let ((sent, confirmed_at), ahead) = tokio::join!(publish, async {
            // Recording first: what it makes of the batch before, the next one must see.
            record(&self.pool, &self.relay, position, &mut self.unrecorded).await?;
            if read_ahead { read(&self.pool, position, rows).await.map(Some) } else { Ok(None) }
        });
        let ahead = ahead.map(|ahead| ahead.map(|ahead| ahead.without_those_of(&batch)));
        faults::point("relay.batch.confirmed");
        // After an alarm the connection is still good, because nothing was sent. After any other error it is in doubt.
        if matches!(sent.interrupted, None | Some(BrokerError::Blocked)) {
            self.publisher = Some(publisher);
        }
        self.follow_up(batch, sent, (sent_at, confirmed_at), ahead, position).await
    }

    async fn follow_up(
        &mut self,
        batch: Batch,
        mut sent: Published,
        times: (DateTime<Utc>, DateTime<Utc>),
        ahead: sqlx::Result<Option<Batch>>,
        position: &mut Position,
    ) -> Result<Outcome, RelayError> {
        trace(&batch, &sent, times);
        let interrupted = sent.interrupted.take();
        let mut waiting = sent.held_back.clone();
        waiting.extend(batch.blocked.iter().map(|candidate| candidate.aggregate_id));
        let mut unrecorded = answered(&batch, sent, times);
        if let Some(error) = interrupted {
            // What is confirmed is certain. The rest of the batch is read again, so the mark must not pass it.
            unrecorded.outcome.held.clear();
            self.unrecorded = Some(unrecorded);
            record_sent_only(&self.pool, &self.relay, position, &mut self.unrecorded).await?;
            return Err(error.into());
        }
        self.unrecorded = Some(unrecorded);
        self.ahead = ahead?.map(|batch| batch.without(&waiting));
        if self.ahead.is_none() {
            self.record(position).await?;
        }
        Ok(if batch.stopped_at_limit { Outcome::Forwarded } else { Outcome::CaughtUp })
    }

    async fn record(&mut self, position: &mut Position) -> sqlx::Result<()> {
        record(&self.pool, &self.relay, position, &mut self.unrecorded).await
    }
}

/// What is to be recorded of a batch: the confirmed, the failed, and those that were not sent because of them. `times` are those of
/// sending and of the broker's confirmation.
fn answered(batch: &Batch, sent: Published, (sent_at, confirmed_at): (DateTime<Utc>, DateTime<Utc>)) -> Unrecorded {
    let gone: HashSet<Uuid> =
        sent.confirmed.iter().copied().chain(sent.failed.iter().map(|failed| failed.event_id)).collect();
    let behind = batch.events.iter().map(|row| row.candidate.event_id).filter(|id| !gone.contains(id));
    let held = batch.blocked.iter().map(|candidate| candidate.event_id).chain(behind).collect();
    Unrecorded {
        outcome: store::Outcome { sent: sent.confirmed, held },
        failed: sent.failed,
        covered: batch.covered,
        sent_at,
        confirmed_at,
    }
}

/// Records the spans of the events that the broker has answered for, of those whose trace is recorded.
fn trace(batch: &Batch, sent: &Published, times: (DateTime<Utc>, DateTime<Utc>)) {
    let recorded = |row: &&Pending| {
        let headers = row.event.as_ref().ok().map(|event| &event.headers);
        headers.is_some_and(|headers| headers.traceparent.as_ref().is_some_and(|parent| parent.ends_with("-01")))
    };
    let mut recorded = batch.events.iter().filter(recorded).peekable();
    if recorded.peek().is_none() {
        return;
    }
    let confirmed: HashSet<Uuid> = sent.confirmed.iter().copied().collect();
    for row in recorded {
        let Ok(event) = &row.event else { continue };
        let failed = sent.failed.iter().any(|failed| failed.event_id == event.event_id);
        if !failed && !confirmed.contains(&event.event_id) {
            continue;
        }
        let (system, destination) = (MessagingSystem::Rabbitmq, EXCHANGE);
        let message = Message { system, destination, id: event.event_id, event: &event.event_type };
        let traceparent = event.headers.traceparent.as_deref();
        trace_sent(message, traceparent, row.candidate.is_new, times, failed.then_some("refused"));
    }
}

impl Batch {
    /// A retried event counts as due until the batch that it is in is recorded.
    fn without_those_of(mut self, on_the_wire: &Self) -> Self {
        let sent: HashSet<Uuid> = on_the_wire.events.iter().map(|row| row.candidate.event_id).collect();
        self.events.retain(|row| !sent.contains(&row.candidate.event_id));
        self
    }

    /// Events of these aggregates must wait: when they were read, it was not recorded yet that an earlier one waits. An exception
    /// stays due, and blocks nothing: it may be what the others wait for.
    fn without(mut self, aggregates: &HashSet<Uuid>) -> Self {
        let waits = self.events.extract_if(.., |row| aggregates.contains(&row.candidate.aggregate_id));
        self.blocked.extend(waits.map(|row| row.candidate).filter(|candidate| candidate.is_new));
        self
    }
}

async fn read(pool: &PgPool, position: &mut Position, limit: i64) -> sqlx::Result<Batch> {
    let look_at = limited(position.look_at(pool)).await?;
    let seen = limited(look(pool, position.standing(), &look_at, limit)).await?;
    let (blocked, free) = seen.candidates.into_iter().partition::<Vec<_>, _>(|candidate| candidate.is_blocked);
    let events = limited(store::envelopes(pool, free)).await?;
    Ok(Batch {
        events,
        blocked,
        covered: position.saw(&look_at, &seen.positions, seen.stopped_at_limit),
        stopped_at_limit: seen.stopped_at_limit,
    })
}

async fn record(
    pool: &PgPool,
    relay: &str,
    position: &mut Position,
    unrecorded: &mut Option<Unrecorded>,
) -> sqlx::Result<()> {
    let covered = unrecorded.as_ref().map(|unrecorded| unrecorded.covered);
    record_sent_only(pool, relay, position, unrecorded).await?;
    if let Some(covered) = covered {
        position.handled(covered);
        limited(position.store(pool)).await?;
    }
    Ok(())
}

/// Records what came of the events, and leaves the mark where it is.
async fn record_sent_only(
    pool: &PgPool,
    relay: &str,
    position: &mut Position,
    unrecorded: &mut Option<Unrecorded>,
) -> sqlx::Result<()> {
    let Some(Unrecorded { outcome, failed, sent_at, confirmed_at, .. }) = unrecorded else { return Ok(()) };
    for failed in failed.iter() {
        exceptions::record(pool, position.leases(), failed).await?;
    }
    if !outcome.sent.is_empty() || !outcome.held.is_empty() {
        let recorded =
            limited(store::record(pool, relay, position.leases(), outcome, (*sent_at, *confirmed_at))).await?;
        faults::point("relay.batch.marked");
        metrics::counter!("outbox_published_total").increment(recorded.unsigned_abs());
        if usize::try_from(recorded).unwrap_or(0) < outcome.sent.len() {
            let confirmed = outcome.sent.len();
            tracing::warn!(confirmed, recorded, "lease lost while publishing; the new owner publishes again");
        }
    }
    *unrecorded = None;
    Ok(())
}
