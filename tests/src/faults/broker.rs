//! What is done to `RabbitMQ`.

use std::time::Duration;

use anyhow::{Context, Result};
use contracts::Queue;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use messaging::rabbitmq::EXCHANGE;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::time::{sleep, timeout};

use super::stage::Stage;
use super::tally::Tally;

/// How long messages are collected before they are sent on in another order.
const COLLECT: Duration = Duration::from_millis(1_500);
/// Messages collected at most.
const HANDFUL: u16 = 40;
/// Longest wait for an answer of the broker, which may be blocked by an alarm or dead.
const ANSWER: Duration = Duration::from_secs(5);

/// Takes messages of a queue as another consumer would, and puts each back twice, in another order. What it has not
/// acknowledged when the broker dies comes again on its own.
pub(super) async fn duplicate_and_reorder(stage: &Stage, chance: &mut StdRng, tally: &Tally) -> Result<()> {
    let queue = *Queue::ALL.choose(chance).context("there are queues")?;
    let (_connection, channel) = connect(stage).await?;
    channel.basic_qos(HANDFUL, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(name(queue).into(), "".into(), options, FieldTable::default()).await?;
    let mut taken: Vec<Delivery> = Vec::new();
    let collect = async {
        while let Some(Ok(delivery)) = consumer.next().await {
            taken.push(delivery);
            if taken.len() == usize::from(HANDFUL) {
                break;
            }
        }
    };
    // The time is over: what has been taken until then is what there is.
    let _ = timeout(COLLECT, collect).await;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut copies: Vec<_> = taken.iter().chain(&taken).collect();
    copies.shuffle(chance);
    for copy in copies {
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), name(queue).into(), options, &copy.data, copy.properties.clone());
        timeout(ANSWER, async { sent.await?.await }).await??;
    }
    for delivery in &taken {
        delivery.ack(BasicAckOptions::default()).await?;
    }
    tally.did_often("messages duplicated and reordered", taken.len() as u64);
    Ok(())
}

/// The broker says that its memory is used up, and takes nothing from publishers for a while.
pub(super) async fn raise_memory_alarm(stage: &Stage, chance: &mut StdRng, tally: &Tally) -> Result<()> {
    let node = stage.node.as_ref().context("there is a broker")?;
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await?;
    tally.did("memory alarm raised");
    sleep(Duration::from_millis(chance.random_range(500..6_000))).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await?;
    Ok(())
}

/// The broker is killed and comes back.
pub(super) async fn crash(stage: &mut Stage, tally: &Tally) -> Result<()> {
    let node = stage.node.as_mut().context("there is a broker")?;
    node.kill();
    node.restart().await?;
    tally.did("RabbitMQ killed and restarted");
    Ok(())
}

/// Takes the binding of a queue away: what is meant for it comes back to the relay.
pub(super) async fn unbind(stage: &Stage, queue: Queue, tally: &Tally) -> Result<()> {
    let (_connection, channel) = connect(stage).await?;
    let key = format!("{queue}.#");
    let unbound = channel.queue_unbind(name(queue).into(), EXCHANGE.into(), key.into(), FieldTable::default());
    timeout(ANSWER, unbound).await??;
    tally.did("binding deleted");
    Ok(())
}

/// Messages that wait in any queue.
pub(super) async fn messages(stage: &Stage) -> Result<u64> {
    let Some(node) = &stage.node else { return Ok(0) };
    let listed = node.ctl(&["list_queues", "messages"]).await?;
    Ok(listed.lines().filter_map(|line| line.trim().parse::<u64>().ok()).sum())
}

/// Past the proxy.
async fn connect(stage: &Stage) -> Result<(Connection, Channel)> {
    let url = stage.node.as_ref().context("there is a broker")?.url();
    let properties = ConnectionProperties::default().with_connection_name("fault harness".into());
    let connection = timeout(ANSWER, Connection::connect(&url, properties)).await??;
    let channel = timeout(ANSWER, connection.create_channel()).await??;
    Ok((connection, channel))
}

fn name(queue: Queue) -> String {
    format!("articurated.{queue}")
}
