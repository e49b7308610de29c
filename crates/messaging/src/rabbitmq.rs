//! RabbitMQ between outbox and inbox. The only place that names `lapin`.
//!
//! Every (event, queue) pair is a message of its own with the routing key `<queue>.<event type>`. One message per
//! event with a fan-out by bindings would be fewer messages, but then a missing binding loses the copy for one
//! queue while the broker confirms the others. With a message per pair the broker confirms every single delivery.
//!
//! Publishing and consuming use separate connections, because an alarm (memory, disk) blocks every write of a
//! publishing connection, acknowledgements included. lapin's own recovery stays off: after an error on a channel its
//! user drops the whole connection and rebuilds connection, channel and topology.

mod publisher;
mod consumer;
mod watch;
mod examination;

use std::time::Duration;

use contracts::Queue;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use runtime::health::Check;
use runtime::telemetry::MessagingSystem;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use consumer::BATCH;
pub use consumer::{Consumer, Received};
pub use examination::{Defect, examine};
pub use publisher::{Outgoing, Publisher, Verdict};
pub use watch::{DeadLetter, Watch};

/// Durable topic exchange to which every event is published.
pub const EXCHANGE: &str = "articurated.events";
/// Durable fanout exchange for messages that a consumer rejects, or that the broker gives up.
const DEAD_EXCHANGE: &str = "articurated.dead";
/// Durable queue of these messages. The relays empty it.
const DEAD_QUEUE: &str = "articurated.dead";
/// How often the broker may redeliver a message before it gives the message up. Our answer is: always. From 4.0 on the
/// broker's own answer is 20, so a consumer that dies 20 times would lose what it held. -1 means "no limit" there, but 3.x
/// takes it for a limit and gives up every message that comes back once. The largest number means the same to both. A
/// policy can still lower it; see [`Watch`].
const DELIVERY_LIMIT: i32 = i32::MAX;
/// Longest wait for any single answer of the broker.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a connection. A broker that is starting accepts connections before it can serve them, so the next
/// attempt must come soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Seconds between heartbeats, unless the URL sets them. Heartbeats are the only sign by which a consumer notices a
/// broker that vanished; with the broker's own 60 s it would take two minutes.
const HEARTBEAT_SECONDS: u16 = 10;
/// AMQP's codes for an object that does not exist, and for one that exists with other arguments.
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
/// AMQP's `type` of a message that only tests whether it can be delivered. Consumers drop it.
const PROBE: &str = "articurated.probe";

/// How rows get from the outbox to the inbox.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TransportConfig {
    /// RabbitMQ's AMQP URL. Unset: the queue in Postgres, which needs no broker.
    #[arg(long, env = "RABBITMQ_URL", hide_env_values = true)]
    pub rabbitmq_url: Option<SecretString>,
}

impl TransportConfig {
    /// Its name in traces.
    pub const fn system(&self) -> MessagingSystem {
        if self.rabbitmq_url.is_some() { MessagingSystem::Rabbitmq } else { MessagingSystem::Postgresql }
    }
}

/// What went wrong at the broker. The caller drops the connection and opens a new one.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("RabbitMQ: {0}")]
    Lapin(#[from] lapin::Error),
    #[error("RABBITMQ_URL is not an AMQP address (amqp://user:password@host:port/vhost): {0}")]
    Address(String),
    #[error("RabbitMQ did not answer within {1:?} ({0})")]
    Timeout(&'static str, Duration),
    #[error("RabbitMQ takes no messages: an alarm (memory or disk) blocks the connection")]
    Blocked,
    #[error("RabbitMQ closed the consumer")]
    ConsumerClosed,
    #[error(
        "the queue {queue} exists with other arguments: rabbitmqctl delete_queue {queue}, then it is declared again, and what \
         was in it is sent again ({error})"
    )]
    OtherArguments { queue: String, error: lapin::Error },
}

/// The name of a queue on the broker.
fn broker_queue(queue: Queue) -> String {
    format!("articurated.{queue}")
}

async fn within<T, E>(what: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, BrokerError>
where
    BrokerError: From<E>,
{
    at_most(TIMEOUT, what, work).await
}

async fn at_most<T, E>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BrokerError>
where
    BrokerError: From<E>,
{
    match tokio::time::timeout(limit, work).await {
        Ok(result) => Ok(result?),
        Err(_elapsed) => Err(BrokerError::Timeout(what, limit)),
    }
}

async fn open(url: &SecretString, name: &str) -> Result<Connection, BrokerError> {
    let properties = ConnectionProperties::default().with_connection_name(LongString::from(name));
    let mut uri: AMQPUri = url.expose_secret().parse().map_err(BrokerError::Address)?;
    if uri.scheme == AMQPScheme::AMQP {
        runtime::tls::warn_without("RabbitMQ", &uri.authority.host, "begin its URL with amqps://");
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    at_most(CONNECT_TIMEOUT, "connect", Connection::connect_uri(uri, properties)).await
}

async fn connect(url: &SecretString, name: &str) -> Result<(Connection, Channel), BrokerError> {
    let connection = open(url, name).await?;
    let channel = within("open channel", connection.create_channel()).await?;
    declare_topology(&channel).await?;
    Ok((connection, channel))
}

/// Declares everything, idempotently. A declaration that contradicts what the broker has is an error that names
/// the object, so a half-changed topology is noticed at start and not by lost messages.
async fn declare_topology(channel: &Channel) -> Result<(), BrokerError> {
    let durable_exchange = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declare =
        |name: &'static str, kind| channel.exchange_declare(name.into(), kind, durable_exchange, FieldTable::default());
    within("declare exchange", declare(DEAD_EXCHANGE, ExchangeKind::Fanout)).await?;
    within("declare exchange", declare(EXCHANGE, ExchangeKind::Topic)).await?;
    declare_queue(channel, DEAD_QUEUE, quorum()).await?;
    bind(channel, DEAD_QUEUE, DEAD_EXCHANGE, "").await?;
    for queue in Queue::JOBS {
        let name = broker_queue(queue);
        declare_queue(channel, &name, job_queue()).await?;
        bind(channel, &name, EXCHANGE, &format!("{queue}.#")).await?;
    }
    Ok(())
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), BrokerError> {
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    match within("declare queue", channel.queue_declare(name.into(), durable, arguments)).await {
        Err(BrokerError::Lapin(error)) if refusal(&error) == Some(PRECONDITION_FAILED) => {
            Err(BrokerError::OtherArguments { queue: name.to_owned(), error })
        }
        declared => declared.map(drop),
    }
}

/// The code with which the broker closed a channel.
fn refusal(error: &lapin::Error) -> Option<u16> {
    if let lapin::ErrorKind::ProtocolError(error) = error.kind() { Some(error.get_id()) } else { None }
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), BrokerError> {
    let bound = channel.queue_bind(
        queue.into(),
        exchange.into(),
        key.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    within("bind queue", bound).await
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments
}

fn job_queue() -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(DEAD_EXCHANGE.into()));
    arguments
}

/// A readiness check of the broker, if one is configured.
pub fn readiness(transport: &TransportConfig) -> Option<Check> {
    let url = transport.rabbitmq_url.clone()?;
    Some(Check::new("broker", move || {
        let url = url.clone();
        async move { ping(&url).await.map_err(|error| error.to_string()) }
    }))
}

async fn ping(url: &SecretString) -> Result<(), BrokerError> {
    open(url, "articurated readiness").await.map(drop)
}
