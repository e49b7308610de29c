//! Operations on `RabbitMQ` for tests and for the fault harness.

use std::time::Duration;

use anyhow::Result;
use contracts::Queue;
use embedded::rabbitmq::PrivateNode;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use messaging::rabbitmq::EXCHANGE;
use tokio::time::timeout;

/// Longest wait for an answer of the broker, which an alarm may block or which may be dead.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// The name of a queue on the broker.
pub(crate) fn name(queue: Queue) -> String {
    format!("articurated.{queue}")
}

pub(crate) async fn connect(url: &str) -> Result<(Connection, Channel)> {
    let properties = ConnectionProperties::default().with_connection_name("tests".into());
    let connection = timeout(ANSWER, Connection::connect(url, properties)).await??;
    let channel = timeout(ANSWER, connection.create_channel()).await??;
    Ok((connection, channel))
}

/// Deletes the binding of a queue and keeps the queue. The broker then returns the queue's messages to the relay.
pub(crate) async fn unbind(url: &str, queue: Queue) -> Result<()> {
    let (_connection, channel) = connect(url).await?;
    let key = format!("{queue}.#");
    let unbound = channel.queue_unbind(name(queue).into(), EXCHANGE.into(), key.into(), FieldTable::default());
    Ok(timeout(ANSWER, unbound).await??)
}

/// Declares a queue as a quorum queue without further arguments.
pub(crate) async fn declare_otherwise(url: &str, queue: Queue) -> Result<()> {
    let (_connection, channel) = connect(url).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    timeout(ANSWER, channel.queue_declare(name(queue).into(), durable, arguments)).await??;
    Ok(())
}

/// Ready messages in the queue of this name.
pub(crate) async fn ready(url: &str, name: &str) -> Result<u32> {
    let (_connection, channel) = connect(url).await?;
    let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
    let declared = timeout(ANSWER, channel.queue_declare(name.into(), passive, FieldTable::default())).await??;
    Ok(declared.message_count())
}

/// Raises or clears the memory alarm. While it is raised, the broker blocks publishers.
pub(crate) async fn memory_alarm(node: &PrivateNode, raised: bool) -> Result<()> {
    let watermark = if raised { "0.000001" } else { "0.6" };
    node.ctl(&["set_vm_memory_high_watermark", watermark]).await.map(drop)
}

/// Ready and unacknowledged messages in all queues of a virtual host.
pub(crate) async fn messages(node: &PrivateNode, vhost: &str) -> Result<u64> {
    let listed = node.ctl(&["list_queues", "--vhost", vhost, "messages"]).await?;
    Ok(listed.lines().filter_map(|line| line.trim().parse::<u64>().ok()).sum())
}
