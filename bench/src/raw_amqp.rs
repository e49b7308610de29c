//! The minimum that publishes with confirms, and reads what was published: the limit for a relay. No deadlines, no error
//! handling, no database.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Result, ensure};
use contracts::{Envelope, Queue};
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};

const PERSISTENT: u8 = 2;
const EXCHANGE: &str = "limit.events";

/// Whether a returned message holds back the messages that must not overtake it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// It does: a window is sent when the whole window before it is confirmed.
    Kept,
    /// It does not: a message is sent when the oldest message in flight is confirmed.
    Lost,
}

/// The messages of each queue, made before the measurement.
#[derive(Debug)]
pub(crate) struct Message {
    key: ShortString,
    properties: BasicProperties,
    body: Vec<u8>,
}

impl Message {
    /// The message as the relay sends it.
    pub(crate) fn new(queue: Queue, event: &Envelope) -> Result<Self> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_type(event.event_type.as_str().into())
            .with_message_id(event.event_id.to_string().into());
        let key = format!("{queue}.{}", event.event_type).into();
        Ok(Self { key, properties, body: serde_json::to_vec(event)? })
    }

    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }
}

/// A connection with a single channel.
#[derive(Debug)]
pub(crate) struct Raw {
    channel: Channel,
    connection: Connection,
}

impl Raw {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Self { channel, connection })
    }

    pub(crate) async fn close(self) -> Result<()> {
        Ok(self.connection.close(200, "".into()).await?)
    }

    /// Messages per second, published to quorum queues of its own behind a topic exchange of its own, so that the limit
    /// contains the cost of routing too. As many messages are in flight as a batch of the relay has.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(crate) async fn publish(&self, messages: &[Message], window: usize, order: Order) -> Result<f64> {
        self.channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        self.channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
        for queue in Queue::JOBS {
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            self.channel.queue_declare(own(queue), options, arguments).await?;
            let key = format!("{queue}.#").into();
            self.channel
                .queue_bind(own(queue), EXCHANGE.into(), key, QueueBindOptions::default(), FieldTable::default())
                .await?;
        }
        let started = Instant::now();
        let mut unconfirmed = VecDeque::with_capacity(window);
        for message in messages {
            if unconfirmed.len() == window {
                let answers = if order == Order::Kept { window } else { 1 };
                for confirm in unconfirmed.drain(..answers) {
                    confirmed(&confirm.await?)?;
                }
            }
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let published = self.channel.basic_publish(
                EXCHANGE.into(),
                message.key.clone(),
                options,
                &message.body,
                message.properties.clone(),
            );
            unconfirmed.push_back(published.await?);
        }
        for confirm in unconfirmed {
            confirmed(&confirm.await?)?;
        }
        let rate = messages.len() as f64 / started.elapsed().as_secs_f64();
        for queue in Queue::JOBS {
            self.channel.queue_delete(own(queue), QueueDeleteOptions::default()).await?;
        }
        Ok(rate)
    }

    /// Takes all messages of one of the relay's queues.
    pub(crate) async fn take(&self, queue: Queue, count: u64) -> Result<Vec<Envelope>> {
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let name = format!("articurated.{queue}");
        let deliveries = self.channel.basic_consume(name.into(), "".into(), options, FieldTable::default()).await?;
        let mut deliveries = deliveries.take(usize::try_from(count)?);
        let mut events = Vec::new();
        while let Some(delivery) = deliveries.next().await {
            events.push(serde_json::from_slice(&delivery?.data)?);
        }
        Ok(events)
    }
}

fn own(queue: Queue) -> ShortString {
    format!("limit.{queue}").into()
}

fn confirmed(confirmation: &Confirmation) -> Result<()> {
    ensure!(matches!(confirmation, Confirmation::Ack(None)), "the broker did not accept a message: {confirmation:?}");
    Ok(())
}
