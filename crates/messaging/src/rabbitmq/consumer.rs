//! Consuming with manual acknowledgement, a batch at a time.

use contracts::{Envelope, Queue};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use secrecy::SecretString;

use super::{BrokerError, PROBE, broker_queue, connect, within};

/// Unacknowledged messages the broker sends ahead.
const PREFETCH: u16 = 1_000;
/// Most messages stored and acknowledged together.
pub(crate) const BATCH: usize = 500;

/// A connection that consumes one queue.
#[derive(Debug)]
pub struct Consumer {
    deliveries: lapin::Consumer,
    channel: Channel,
    _connection: Connection,
}

/// Messages that this consumer holds until it acknowledges them or the connection ends.
#[derive(Debug)]
pub struct Received {
    /// Decoded messages, each with its delivery tag.
    pub events: Vec<(u64, Envelope)>,
    last_tag: u64,
}

impl Consumer {
    /// Connects, declares the topology and starts to consume.
    pub async fn connect(url: &SecretString, queue: Queue) -> Result<Self, BrokerError> {
        let (connection, channel) = connect(url, &format!("articurated {queue}")).await?;
        within("prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            broker_queue(queue).as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = within("consume", consume).await?;
        Ok(Self { deliveries, channel, _connection: connection })
    }

    /// Waits for a message and takes what else has arrived. Messages that cannot be decoded go to the dead-letter
    /// queue; otherwise the broker would redeliver them for ever.
    pub async fn receive(&mut self) -> Result<Received, BrokerError> {
        let mut delivery = Self::delivered(self.deliveries.next().await)?;
        let mut received = Received { events: Vec::new(), last_tag: 0 };
        loop {
            if delivery.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == PROBE) {
                self.acknowledge_one(delivery.delivery_tag).await?;
            } else {
                self.take(delivery, &mut received).await?;
            }
            if received.events.len() == BATCH {
                return Ok(received);
            }
            match self.deliveries.next().now_or_never() {
                Some(next) => delivery = Self::delivered(next)?,
                None => return Ok(received),
            }
        }
    }

    async fn take(&self, delivery: Delivery, received: &mut Received) -> Result<(), BrokerError> {
        match serde_json::from_slice::<Envelope>(&delivery.data) {
            Ok(event) => {
                received.last_tag = delivery.delivery_tag;
                received.events.push((delivery.delivery_tag, event));
                Ok(())
            }
            Err(error) => {
                let message_id = delivery.properties.message_id().as_ref().map(ToString::to_string);
                tracing::error!(alert = true, ?message_id, %error, "undecodable message moved to the dead-letter queue");
                self.reject(delivery.delivery_tag).await
            }
        }
    }

    /// Acknowledges everything received. Call it only after the commit.
    pub async fn acknowledge(&self, received: &Received) -> Result<(), BrokerError> {
        if received.last_tag == 0 {
            return Ok(());
        }
        let up_to = BasicAckOptions { multiple: true };
        within("acknowledge", self.channel.basic_ack(received.last_tag, up_to)).await
    }

    /// Acknowledges one message.
    pub async fn acknowledge_one(&self, tag: u64) -> Result<(), BrokerError> {
        within("acknowledge", self.channel.basic_ack(tag, BasicAckOptions::default())).await
    }

    /// Sends one message to the dead-letter queue.
    pub async fn reject(&self, tag: u64) -> Result<(), BrokerError> {
        within("reject", self.channel.basic_reject(tag, BasicRejectOptions { requeue: false })).await
    }

    fn delivered(next: Option<lapin::Result<Delivery>>) -> Result<Delivery, BrokerError> {
        Ok(next.ok_or(BrokerError::ConsumerClosed)??)
    }
}
