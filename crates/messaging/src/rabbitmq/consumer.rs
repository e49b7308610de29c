//! Consuming with manual acknowledgement, a batch at a time.

use std::time::Duration;

use contracts::{Envelope, Queue};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use secrecy::SecretString;
use tokio::time::timeout;

use super::{BrokerError, PROBE, broker_queue, connect, within};

/// Unacknowledged messages the broker sends ahead.
const PREFETCH: u16 = 1_000;
/// Most messages stored and acknowledged together.
pub(crate) const BATCH: usize = 500;
/// A consumer that stops believes that nothing more is on its way when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(500);
/// AMQP's code for a connection that ends as it should.
const CLOSED_WELL: u16 = 200;

/// A connection that consumes one queue.
#[derive(Debug)]
pub struct Consumer {
    deliveries: lapin::Consumer,
    channel: Channel,
    connection: Connection,
    /// The end of the deliveries, which is delivered once.
    has_ended: bool,
}

/// Messages that this consumer holds until it acknowledges them or the connection ends.
#[derive(Debug, Default)]
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
        Ok(Self { deliveries, channel, connection, has_ended: false })
    }

    /// Waits for a message and takes what else has arrived. `None` when `stopped` ends first. Messages that cannot be decoded
    /// go to the dead-letter queue; otherwise the broker would redeliver them for ever.
    pub async fn receive(&mut self, stopped: impl Future<Output = ()>) -> Result<Option<Received>, BrokerError> {
        let received = tokio::select! {
            () = stopped => return Ok(None),
            first = self.next() => match first? {
                Some(first) => self.gather(first).await?,
                None => return Err(BrokerError::ConsumerClosed),
            },
        };
        Ok(Some(received))
    }

    /// Takes what the broker has sent ahead, and asks for no more.
    ///
    /// The order matters: after the last acknowledgement messages are on their way, and those that arrive after the consumer
    /// is cancelled would be lost to it, and go back. Without further acknowledgements their number is bounded.
    pub async fn last(&mut self) -> Result<Received, BrokerError> {
        let mut received = Received::default();
        while received.events.len() < usize::from(PREFETCH) {
            let Ok(Some(next)) = timeout(QUIET, self.next()).await.unwrap_or(Ok(None)) else { break };
            self.sort(next, &mut received).await?;
        }
        within("cancel", self.channel.basic_cancel(self.deliveries.tag(), BasicCancelOptions::default())).await?;
        Ok(received)
    }

    /// Ends the connection. The broker has then seen every acknowledgement.
    pub async fn close(self) -> Result<(), BrokerError> {
        within("close", self.connection.close(CLOSED_WELL, "stopped".into())).await
    }

    async fn gather(&mut self, first: Delivery) -> Result<Received, BrokerError> {
        let mut delivery = first;
        let mut received = Received::default();
        loop {
            self.sort(delivery, &mut received).await?;
            if received.events.len() == BATCH {
                return Ok(received);
            }
            match self.next().now_or_never().transpose()?.flatten() {
                Some(next) => delivery = next,
                None => return Ok(received),
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Delivery>, BrokerError> {
        if self.has_ended {
            return Ok(None);
        }
        let next = self.deliveries.next().await.transpose()?;
        self.has_ended = next.is_none();
        Ok(next)
    }

    async fn sort(&self, delivery: Delivery, received: &mut Received) -> Result<(), BrokerError> {
        if delivery.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == PROBE) {
            return self.acknowledge_one(delivery.delivery_tag).await;
        }
        self.take(delivery, received).await
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
}
