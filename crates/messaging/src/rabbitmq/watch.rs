//! Looking after the queues from the side of the relay: which of them are empty, and what the broker has dead-lettered.
//!
//! A policy can make a broker give messages up: after a number of redeliveries (`delivery-limit`), after a time
//! (`message-ttl`), or in a queue that is full (`max-length`). They come to the dead-letter queue, like those that a consumer
//! has rejected. The events in them are in the log, so only their ids are of interest.

use contracts::Queue;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicRejectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection};
use secrecy::SecretString;
use uuid::Uuid;

use super::{BrokerError, DEAD_QUEUE, PROBE, broker_queue, connect, within};

/// Dead letters of one look.
const MOST_LETTERS: usize = 1_000;

/// A connection that looks at the queues.
#[derive(Debug)]
pub struct Watch {
    channel: Channel,
    _connection: Connection,
    /// Dead letters that were put back at the last look.
    put_back: u32,
}

/// A message in the dead-letter queue.
#[derive(Debug)]
pub struct DeadLetter {
    tag: u64,
    /// The event in it, and the queue for which it was. `None`: it is none of ours.
    pub event: Option<(Uuid, Queue)>,
    /// The broker's word for why it is here: `delivery_limit`, `rejected`, `expired`, `maxlen`.
    pub reason: String,
}

impl Watch {
    /// Connects and declares the topology.
    pub async fn connect(url: &SecretString) -> Result<Self, BrokerError> {
        let (connection, channel) = connect(url, "articurated arrivals").await?;
        Ok(Self { channel, _connection: connection, put_back: 0 })
    }

    /// The queues in which no message is ready. A consumer may hold some that it has not acknowledged.
    pub async fn empty_queues(&self) -> Result<Vec<Queue>, BrokerError> {
        let mut empty = Vec::new();
        for queue in Queue::JOBS {
            if self.ready(&broker_queue(queue)).await? == 0 {
                empty.push(queue);
            }
        }
        Ok(empty)
    }

    /// Takes what has come to the dead-letter queue. Call [`Watch::settle`] with each.
    pub async fn dead_letters(&mut self) -> Result<Vec<DeadLetter>, BrokerError> {
        let waiting = self.ready(DEAD_QUEUE).await?;
        self.put_back = self.put_back.min(waiting);
        let mut letters = Vec::new();
        if waiting == self.put_back {
            return Ok(letters);
        }
        self.put_back = 0;
        while letters.len() < MOST_LETTERS {
            let get = self.channel.basic_get(DEAD_QUEUE.into(), BasicGetOptions::default());
            let Some(message) = within("get", get).await? else { break };
            if message.delivery.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == PROBE) {
                // A probe that expired in a queue without a consumer.
                self.remove(message.delivery.delivery_tag).await?;
            } else {
                letters.push(DeadLetter::of(&message.delivery));
            }
        }
        Ok(letters)
    }

    /// Deletes a letter that has arrived after all, or puts it back for an operator.
    pub async fn settle(&mut self, letter: &DeadLetter, has_arrived: bool) -> Result<(), BrokerError> {
        if has_arrived {
            return self.remove(letter.tag).await;
        }
        self.put_back += 1;
        within("reject", self.channel.basic_reject(letter.tag, BasicRejectOptions { requeue: true })).await
    }

    async fn remove(&self, tag: u64) -> Result<(), BrokerError> {
        within("acknowledge", self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    async fn ready(&self, name: &str) -> Result<u32, BrokerError> {
        let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let declared = within("queue", self.channel.queue_declare(name.into(), passive, FieldTable::default())).await?;
        Ok(declared.message_count())
    }
}

impl DeadLetter {
    fn of(delivery: &Delivery) -> Self {
        let header = |name: &str| match delivery.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            _ => None,
        };
        let queue = header("x-first-death-queue").and_then(|name| queue_called(&name));
        let event_id = delivery.properties.message_id().as_ref().and_then(|id| id.as_str().parse().ok());
        Self {
            tag: delivery.delivery_tag,
            event: event_id.zip(queue),
            reason: header("x-first-death-reason").unwrap_or_default(),
        }
    }
}

/// The queue that has this name on the broker.
fn queue_called(name: &str) -> Option<Queue> {
    Queue::JOBS.into_iter().find(|queue| broker_queue(*queue) == name)
}
