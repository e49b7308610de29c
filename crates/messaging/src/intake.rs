//! RabbitMQ → inbox: a message is acknowledged after its inbox row is committed, never before.
//!
//! With the Postgres queue there is nothing to do here: the relay writes the inbox itself.

use std::time::Duration;

use contracts::{Envelope, Queue};
use runtime::database::{limited, refuses_the_data};
use runtime::{Tasks, faults};
use secrecy::SecretString;
use sqlx::PgPool;

use crate::rabbitmq::{BrokerError, Consumer, Received};
use crate::wakeup::Hint;
use crate::{TransportConfig, inbox};

/// First and longest wait before a lost connection is made again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Wait before a batch that the database did not take is tried again.
const DATABASE_RETRY: Duration = Duration::from_millis(500);

/// Moves messages of one queue into the inbox until shutdown, reconnecting as often as it takes.
pub async fn run(pool: PgPool, transport: TransportConfig, queue: Queue, tasks: Tasks) {
    let Some(url) = transport.rabbitmq_url else { return tasks.shutdown.cancelled().await };
    let hint = Hint::start(&pool, inbox::channel(queue), &tasks);
    let mut wait = RECONNECT.0;
    loop {
        tokio::select! {
            () = tasks.shutdown.cancelled() => return,
            Err(error) = consume(&pool, &url, queue, &hint, &mut wait) => {
                tracing::warn!(%queue, %error, retry_in = ?wait, "intake interrupted");
            }
        }
        tokio::select! {
            () = tasks.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RECONNECT.1),
        }
    }
}

/// One connection's life. Dropping this future closes the connection; what was not acknowledged comes again.
async fn consume(
    pool: &PgPool,
    url: &SecretString,
    queue: Queue,
    hint: &Hint,
    wait: &mut Duration,
) -> Result<std::convert::Infallible, BrokerError> {
    let mut consumer = Consumer::connect(url, queue).await?;
    tracing::info!(%queue, "consuming from RabbitMQ");
    *wait = RECONNECT.0;
    loop {
        let received = consumer.receive().await?;
        faults::point("intake.batch.received");
        store(pool, queue, &consumer, &received).await?;
        faults::point("intake.batch.acknowledged");
        hint.send();
    }
}

/// Commits a batch and acknowledges it, waiting for the database if it must. A row that the database refuses for its own sake (an id
/// from beyond the dedupe horizon has no partition) goes to the dead-letter queue instead of blocking the rest.
async fn store(pool: &PgPool, queue: Queue, consumer: &Consumer, received: &Received) -> Result<(), BrokerError> {
    let events: Vec<Envelope> = received.events.iter().map(|(_, event)| event.clone()).collect();
    loop {
        match limited(inbox::insert(pool, queue, &events)).await {
            Ok(_) => {
                faults::point("intake.batch.committed");
                return consumer.acknowledge(received).await;
            }
            Err(error) if refuses_the_data(&error) => {
                tracing::warn!(%queue, %error, "batch refused; storing its rows one by one");
                return store_one_by_one(pool, queue, consumer, received).await;
            }
            Err(error) => {
                tracing::warn!(%queue, %error, "inbox not reachable; holding the batch");
                tokio::time::sleep(DATABASE_RETRY).await;
            }
        }
    }
}

async fn store_one_by_one(
    pool: &PgPool,
    queue: Queue,
    consumer: &Consumer,
    received: &Received,
) -> Result<(), BrokerError> {
    for (tag, event) in &received.events {
        loop {
            match limited(inbox::insert(pool, queue, std::slice::from_ref(event))).await {
                Ok(_) => {
                    consumer.acknowledge_one(*tag).await?;
                    break;
                }
                Err(error) if refuses_the_data(&error) => {
                    tracing::error!(alert = true, %queue, event.id = %event.event_id, %error, "message moved to the dead-letter queue");
                    consumer.reject(*tag).await?;
                    break;
                }
                Err(_unreachable) => tokio::time::sleep(DATABASE_RETRY).await,
            }
        }
    }
    Ok(())
}
