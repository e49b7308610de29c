//! Publishing with confirms, a window at a time.

use std::collections::HashSet;

use contracts::{Envelope, Queue};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use runtime::faults;
use secrecy::SecretString;
use uuid::Uuid;

use super::{BrokerError, EXCHANGE, connect, within};

/// AMQP's `delivery_mode` for messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// One event on its way to one queue.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    pub queue: Queue,
    pub event: &'a Envelope,
    /// The envelope as JSON.
    pub body: &'a [u8],
}

impl Outgoing<'_> {
    fn routing_key(&self) -> String {
        format!("{}.{}", self.queue, self.event.event_type)
    }
}

/// How the broker answered for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// On disk in a quorum of the queue's replicas.
    Confirmed,
    /// No queue is bound to its routing key.
    Unroutable,
    /// The broker refused it.
    Nacked,
}

/// A connection that publishes.
#[derive(Debug)]
pub struct Publisher {
    channel: Channel,
    connection: Connection,
}

impl Publisher {
    /// Connects and declares the topology.
    pub async fn connect(url: &SecretString) -> Result<Self, BrokerError> {
        let (connection, channel) = connect(url, "articurated relay").await?;
        within("confirm mode", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { channel, connection })
    }

    /// Publishes a window of messages and waits until the broker has answered for every one of them.
    /// Returns the verdicts in the order of the messages.
    ///
    /// lapin 4.12.3 attaches a `basic.return` to the confirm that resolves next, so an unroutable message can look
    /// acknowledged while its neighbour looks returned. Returns do arrive before the last confirm of the window,
    /// so: drain every confirm, collect the ids that came back, and only then decide, by id.
    ///
    /// While an alarm blocks the connection this waits: what has been sent is in the connection's buffers, and sending
    /// it over a new connection would only add to the flood when the alarm ends. The heartbeats of the connection bound
    /// the wait.
    ///
    /// # Errors
    /// After an error nothing is known about the window: drop this publisher and publish the window again; the inbox
    /// drops duplicates. [`BrokerError::Blocked`] is returned before anything is sent, and the publisher is still good.
    pub async fn publish(&self, window: &[Outgoing<'_>]) -> Result<Vec<Verdict>, BrokerError> {
        if self.is_blocked() {
            return Err(BrokerError::Blocked);
        }
        let mut confirms = Vec::with_capacity(window.len());
        for message in window {
            confirms.push(self.answered("publish", self.send(message)).await?);
        }
        faults::point("relay.window.published");
        let mut acknowledged = Vec::with_capacity(window.len());
        let mut returned = HashSet::new();
        let mut note = |message: lapin::message::BasicReturnMessage| {
            returned.insert((message.properties.message_id().clone(), message.routing_key.clone()));
        };
        for confirm in confirms {
            let confirmation = self.answered("confirm", confirm).await?;
            acknowledged.push(matches!(confirmation, Confirmation::Ack(_)));
            if let Some(message) = confirmation.take_message() {
                note(*Box::new(message));
            }
        }
        self.answered("confirms", self.channel.wait_for_confirms()).await?.into_iter().for_each(note);
        Ok(window
            .iter()
            .zip(acknowledged)
            .map(|(message, acknowledged)| {
                let id = (Some(message_id(message.event.event_id)), ShortString::from(message.routing_key()));
                match (returned.contains(&id), acknowledged) {
                    (true, _) => Verdict::Unroutable,
                    (false, true) => Verdict::Confirmed,
                    (false, false) => Verdict::Nacked,
                }
            })
            .collect())
    }

    /// Whether the broker accepts no messages for now.
    pub fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Waits for an answer of the broker; without a time-out while the broker blocks the connection.
    async fn answered<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        let mut answer = std::pin::pin!(answer);
        loop {
            match within(what, &mut answer).await {
                Err(BrokerError::Timeout(..)) if self.is_blocked() => {
                    tracing::warn!(waiting_for = what, "{}", BrokerError::Blocked);
                }
                answered => return answered,
            }
        }
    }

    async fn send(&self, message: &Outgoing<'_>) -> lapin::Result<lapin::PublisherConfirm> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_type(message.event.event_type.as_str().into())
            .with_message_id(message_id(message.event.event_id));
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        self.channel
            .basic_publish(EXCHANGE.into(), message.routing_key().into(), options, message.body, properties)
            .await
    }
}

fn message_id(event_id: Uuid) -> ShortString {
    event_id.to_string().into()
}
