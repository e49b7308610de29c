//! Faults of `RabbitMQ`.

use std::time::Duration;

use anyhow::{Context, Result};
use contracts::Queue;
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use tokio::time::{sleep, timeout};

use super::stage::Stage;
use super::tally::Tally;
use crate::rabbitmq::{self, ANSWER, name};

/// How long the harness collects messages before it sends them in another order.
const COLLECT: Duration = Duration::from_millis(1_500);
/// Most messages that it collects.
const HANDFUL: u16 = 40;

/// Takes messages from a queue, as another consumer would, and publishes each twice, in another order. If the broker dies
/// first, it redelivers the unacknowledged ones.
pub(super) async fn duplicate_and_reorder(stage: &Stage, chance: &mut StdRng, tally: &Tally) -> Result<()> {
    let queue = *Queue::JOBS.choose(chance).context("there are queues")?;
    let (_connection, channel) = rabbitmq::connect(&url(stage)?).await?;
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
    // The time is over: continue with the messages taken so far.
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

/// The broker raises its memory alarm and blocks publishers for a while.
pub(super) async fn raise_memory_alarm(stage: &Stage, chance: &mut StdRng, tally: &Tally) -> Result<()> {
    let node = stage.node.as_ref().context("there is a broker")?;
    rabbitmq::memory_alarm(node, true).await?;
    tally.did("memory alarm raised");
    sleep(Duration::from_millis(chance.random_range(500..6_000))).await;
    rabbitmq::memory_alarm(node, false).await
}

/// Kills the broker and restarts it.
pub(super) async fn crash(stage: &mut Stage, tally: &Tally) -> Result<()> {
    let node = stage.node.as_mut().context("there is a broker")?;
    node.kill();
    node.restart().await?;
    tally.did("RabbitMQ killed and restarted");
    Ok(())
}

/// Deletes the binding of a queue.
pub(super) async fn unbind(stage: &Stage, queue: Queue, tally: &Tally) -> Result<()> {
    rabbitmq::unbind(&url(stage)?, queue).await?;
    tally.did("binding deleted");
    Ok(())
}

/// Messages in all queues.
pub(super) async fn messages(stage: &Stage) -> Result<u64> {
    let Some(node) = &stage.node else { return Ok(0) };
    rabbitmq::messages(node, "/").await
}

/// The broker's address without the proxy.
fn url(stage: &Stage) -> Result<String> {
    Ok(stage.node.as_ref().context("there is a broker")?.url())
}
