//! One batch on the wire: windows in which no aggregate appears twice, and what the broker's verdicts mean for a row.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use contracts::{EventType, Queue};
use messaging::rabbitmq::{BrokerError, Outgoing, Publisher, Verdict};
use uuid::Uuid;

use crate::row;
use crate::store::Pending;
use crate::store::exceptions::Failed;

/// The largest message sent. RabbitMQ's own limit is 128 MiB, but messages of that size would slow down all the others.
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// How a batch ended, row by row.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) confirmed: Vec<Uuid>,
    pub(crate) failed: Vec<Failed>,
    /// The aggregates of the failed rows. No later row of theirs was sent.
    pub(crate) held_back: HashSet<Uuid>,
    /// Why the rest of the batch was not sent. The other fields are certain all the same.
    pub(crate) interrupted: Option<BrokerError>,
}

/// Publishes a batch in windows in which no aggregate appears twice: the next version of an aggregate is sent only
/// after the broker has answered for the one before, and not at all when that one failed.
pub(crate) async fn publish(publisher: &Publisher, batch: &[Pending], max_attempts: i32) -> Published {
    let mut result = Published::default();
    for window in windows(batch) {
        let ready: Vec<_> =
            window.into_iter().filter(|row| !result.held_back.contains(&row.candidate.aggregate_id)).collect();
        let mut messages = Vec::new();
        for row in &ready {
            match Message::new(row) {
                Ok(message) => messages.push(message),
                Err(failed) => {
                    result.held_back.insert(row.candidate.aggregate_id);
                    result.failed.push(failed);
                }
            }
        }
        let outgoing: Vec<_> = messages.iter().flat_map(Message::copies).collect();
        let mut verdicts = match publisher.publish(&outgoing).await {
            Ok(verdicts) => verdicts.into_iter(),
            Err(error) => {
                result.interrupted = Some(error);
                return result;
            }
        };
        for message in &messages {
            let mine: Vec<_> = verdicts.by_ref().take(message.queues.len()).collect();
            match message.judge(&mine, max_attempts) {
                None => result.confirmed.push(message.row.candidate.event_id),
                Some(failed) => {
                    result.held_back.insert(message.row.candidate.aggregate_id);
                    result.failed.push(failed);
                }
            }
        }
    }
    result
}

/// Splits a batch by the rank of each row within its aggregate.
fn windows(batch: &[Pending]) -> Vec<Vec<&Pending>> {
    let mut ordered: Vec<_> = batch.iter().collect();
    ordered.sort_by_key(|row| (row.candidate.aggregate_id, row.candidate.aggregate_version));
    let mut ranks = HashMap::new();
    let mut windows: Vec<Vec<&Pending>> = Vec::new();
    for row in ordered {
        let rank: &mut usize = ranks.entry(row.candidate.aggregate_id).or_default();
        if windows.len() == *rank {
            windows.push(Vec::new());
        }
        windows[*rank].push(row);
        *rank += 1;
    }
    windows
}

/// A row ready to send.
struct Message<'a> {
    row: &'a Pending,
    event: &'a contracts::Envelope,
    body: Vec<u8>,
    queues: Vec<Queue>,
}

impl<'a> Message<'a> {
    fn new(row: &'a Pending) -> Result<Self, Failed> {
        let parked = |reason, error: String| Failed {
            event_id: row.candidate.event_id,
            error,
            parked: Some(reason),
            delay: Duration::ZERO,
            is_attempt: true,
        };
        let event = row.event.as_ref().map_err(|error| parked("UNDECODABLE", error.clone()))?;
        let body = serde_json::to_vec(event).map_err(|error| parked("UNDECODABLE", error.to_string()))?;
        if body.len() > MAX_MESSAGE_BYTES {
            return Err(parked("TOO_LARGE", format!("{} bytes; the limit is {MAX_MESSAGE_BYTES}", body.len())));
        }
        let event_type: EventType =
            event.event_type.parse().map_err(|_unknown| row.candidate.unknown_type(&event.event_type))?;
        let queues = Queue::JOBS.into_iter().filter(|queue| queue.wants(event_type)).collect();
        Ok(Self { row, event, body, queues })
    }

    fn copies(&self) -> impl Iterator<Item = Outgoing<'_>> {
        self.queues.iter().map(|queue| Outgoing { queue: *queue, event: self.event, body: &self.body })
    }

    /// A row is out only when every copy of it is confirmed.
    fn judge(&self, verdicts: &[Verdict], max_attempts: i32) -> Option<Failed> {
        let (queue, verdict) = self.queues.iter().zip(verdicts).find(|(_, verdict)| **verdict != Verdict::Confirmed)?;
        let attempts = self.row.candidate.attempts + 1;
        let parked = match verdict {
            Verdict::Unroutable => Some("UNROUTABLE"),
            Verdict::Nacked | Verdict::Confirmed => (attempts >= max_attempts).then_some("ATTEMPTS_SPENT"),
        };
        Some(Failed {
            event_id: self.row.candidate.event_id,
            error: format!("RabbitMQ: {verdict:?} for the queue {queue}"),
            parked,
            delay: row::retry_delay(attempts),
            is_attempt: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::look::Candidate;

    fn row(aggregate: u128, version: i32) -> Pending {
        let aggregate_id = Uuid::from_u128(aggregate);
        let event = contracts::Envelope {
            event_id: Uuid::from_u128(aggregate * 100 + u128::try_from(version).expect("positive")),
            event_type: "refund.granted".to_owned(),
            aggregate_type: "order".to_owned(),
            aggregate_id,
            aggregate_version: version,
            occurred_at: chrono::DateTime::UNIX_EPOCH,
            headers: contracts::Headers::default(),
            payload: serde_json::value::to_raw_value(&()).expect("null"),
        };
        let candidate = Candidate {
            event_id: event.event_id,
            aggregate_id,
            aggregate_version: version,
            attempts: 0,
            is_new: true,
            waited: Duration::ZERO,
            is_blocked: false,
        };
        Pending { candidate, event: Ok(event) }
    }

    fn versions(batch: &[Pending]) -> Vec<Vec<(u128, i32)>> {
        let key = |row: &&Pending| (row.candidate.aggregate_id.as_u128(), row.candidate.aggregate_version);
        windows(batch).iter().map(|window| window.iter().map(key).collect()).collect()
    }

    #[test]
    fn an_aggregate_appears_once_in_a_window_and_in_the_order_of_its_versions() {
        let batch = [row(1, 3), row(2, 1), row(1, 2), row(1, 4)];
        assert_eq!(versions(&batch), [vec![(1, 2), (2, 1)], vec![(1, 3)], vec![(1, 4)]]);
        assert!(versions(&[]).is_empty());
    }

    #[test]
    fn an_event_that_only_a_newer_release_knows_waits_for_an_hour() {
        let mut row = row(1, 1);
        if let Ok(event) = &mut row.event {
            event.event_type = "order.eaten".to_owned();
        }
        let new = Message::new(&row).err().expect("unknown");
        assert_eq!((new.parked, new.is_attempt), (None, false));
        assert!(new.delay > Duration::ZERO && new.error.contains("order.eaten") && new.error.contains("upgrade"));
        row.candidate.waited = messaging::unknown::WITHIN;
        assert_eq!(Message::new(&row).err().expect("unknown").parked, Some("UNROUTABLE"));
    }

    #[test]
    fn one_unroutable_copy_parks_the_row_and_one_nack_retries_it() {
        let row = row(1, 1);
        let message = Message::new(&row).map_err(|failed| failed.error).expect("decodable");
        assert_eq!(message.queues, [Queue::CreditNotes, Queue::Refunds]);
        assert!(message.judge(&[Verdict::Confirmed, Verdict::Confirmed], 3).is_none());
        let parked = |verdicts: &[Verdict], max| message.judge(verdicts, max).expect("failed").parked;
        assert_eq!(parked(&[Verdict::Confirmed, Verdict::Unroutable], 3), Some("UNROUTABLE"));
        assert_eq!(parked(&[Verdict::Nacked, Verdict::Confirmed], 3), None);
        assert_eq!(parked(&[Verdict::Nacked, Verdict::Confirmed], 1), Some("ATTEMPTS_SPENT"));
    }
}
