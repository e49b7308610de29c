//! Finds what is wrong with a broker without changing anything: for operators.

use std::fmt;
use std::time::Duration;

use contracts::Queue;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ExchangeKind};
use secrecy::SecretString;

use super::{
    BrokerError, DEAD_QUEUE, EXCHANGE, NOT_FOUND, PROBE, TransportConfig, at_most, broker_queue, declare_queue,
    job_queue, open, refusal, within,
};

/// A probe that no consumer takes expires after this; milliseconds, as AMQP expects.
const PROBE_LIVES_MS: &str = "10000";
/// A broker that does not confirm a probe within this is blocked.
const PROBE_CONFIRMED_WITHIN: Duration = Duration::from_secs(3);

/// A fault that keeps messages from their consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Defect {
    /// No connection, and why.
    Unreachable(String),
    /// Connected, but the broker accepts no messages: an alarm.
    Blocked,
    ExchangeMissing,
    QueueMissing(Queue),
    /// The queue exists with other arguments, so no process can declare it; what the broker says of it.
    OtherArguments(Queue, String),
    /// The queue exists, but messages for it come back.
    BindingMissing(Queue),
    /// The queue has no consumer; this many messages wait in it.
    NoConsumer(Queue, u32),
    /// This many messages were rejected or given up, and no relay has taken them.
    DeadLetters(u32),
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::OtherArguments(_, why) => f.write_str(why),
            Self::Blocked => BrokerError::Blocked.fmt(f),
            Self::ExchangeMissing => write!(f, "the exchange {EXCHANGE} is missing"),
            Self::QueueMissing(queue) => write!(f, "the queue {} is missing", broker_queue(*queue)),
            Self::BindingMissing(queue) => {
                write!(f, "the binding of the queue {} to {EXCHANGE} is missing", broker_queue(*queue))
            }
            Self::NoConsumer(queue, messages) => {
                write!(f, "the queue {} has no consumer ({messages} messages wait)", broker_queue(*queue))
            }
            Self::DeadLetters(messages) => {
                write!(f, "{messages} messages were rejected or given up and wait in the queue {DEAD_QUEUE}")
            }
        }
    }
}

/// Checks exchange, queues and consumers, and sends a probe along every binding. Declares and repairs nothing.
/// `None` when the transport is not RabbitMQ.
pub async fn examine(transport: &TransportConfig) -> Option<Vec<Defect>> {
    let url = transport.rabbitmq_url.as_ref()?;
    Some(look(url).await.unwrap_or_else(|error| vec![Defect::Unreachable(error.to_string())]))
}

async fn look(url: &SecretString) -> Result<Vec<Defect>, BrokerError> {
    let connection = open(url, "articurated doctor").await?;
    if !has_exchange(&connection).await? {
        return Ok(vec![Defect::ExchangeMissing]);
    }
    let mut defects = Vec::new();
    let mut present = Vec::new();
    for queue in Queue::JOBS {
        match counts(&connection, &broker_queue(queue)).await? {
            None => defects.push(Defect::QueueMissing(queue)),
            Some((messages, consumers)) => {
                present.push(queue);
                if let Some(why) = contradiction(&connection, queue).await? {
                    defects.push(Defect::OtherArguments(queue, why));
                }
                if consumers == 0 {
                    defects.push(Defect::NoConsumer(queue, messages));
                }
            }
        }
    }
    if let Some((messages @ 1.., _)) = counts(&connection, DEAD_QUEUE).await? {
        defects.push(Defect::DeadLetters(messages));
    }
    for queue in present {
        match arrives(&connection, queue).await {
            Ok(true) => {}
            Ok(false) => defects.push(Defect::BindingMissing(queue)),
            // The other queues would give the same answer.
            Err(BrokerError::Timeout(..)) => {
                defects.push(Defect::Blocked);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(defects)
}

/// The broker closes a channel when asked for something that does not exist, so every question has a channel of its own.
async fn has_exchange(connection: &Connection) -> Result<bool, BrokerError> {
    let channel = within("open channel", connection.create_channel()).await?;
    let passive = ExchangeDeclareOptions { passive: true, durable: true, ..Default::default() };
    let declared = channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, passive, FieldTable::default());
    found(within("exchange", declared).await).map(|found| found.is_some())
}

/// Ready messages and consumers of a queue, if it exists.
async fn counts(connection: &Connection, name: &str) -> Result<Option<(u32, u32)>, BrokerError> {
    let channel = within("open channel", connection.create_channel()).await?;
    let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let declared = within("queue", channel.queue_declare(name.into(), passive, FieldTable::default())).await;
    Ok(found(declared)?.map(|queue| (queue.message_count(), queue.consumer_count())))
}

fn found<T>(declared: Result<T, BrokerError>) -> Result<Option<T>, BrokerError> {
    match declared {
        Ok(found) => Ok(Some(found)),
        Err(BrokerError::Lapin(error)) if refusal(&error) == Some(NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the broker says when this existing queue is declared with our arguments: nothing, when they are its own. Declaring
/// a queue that exists changes nothing.
async fn contradiction(connection: &Connection, queue: Queue) -> Result<Option<String>, BrokerError> {
    let channel = within("open channel", connection.create_channel()).await?;
    match declare_queue(&channel, &broker_queue(queue), job_queue()).await {
        Ok(()) => Ok(None),
        Err(error @ BrokerError::OtherArguments { .. }) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Publishes a probe as the relay publishes events. `false` when the broker returns it.
async fn arrives(connection: &Connection, queue: Queue) -> Result<bool, BrokerError> {
    let channel = within("open channel", connection.create_channel()).await?;
    within("confirm mode", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let properties = BasicProperties::default().with_type(PROBE.into()).with_expiration(PROBE_LIVES_MS.into());
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let key = format!("{queue}.probe");
    let confirm =
        within("publish", channel.basic_publish(EXCHANGE.into(), key.as_str().into(), options, b"", properties))
            .await?;
    let confirmation = at_most(PROBE_CONFIRMED_WITHIN, "confirm", confirm).await?;
    let returned = at_most(PROBE_CONFIRMED_WITHIN, "confirms", channel.wait_for_confirms()).await?;
    Ok(confirmation.take_message().is_none() && returned.is_empty())
}
