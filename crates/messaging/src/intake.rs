//! RabbitMQ → inbox: a message is acknowledged after its inbox row is committed, never before.
//!
//! The Postgres queue needs no intake: the relay writes the inbox itself.

use std::time::Duration;

use contracts::{Envelope, Queue};
use runtime::backoff::Backoff;
use runtime::database::{limited, refuses_the_data};
use runtime::{Tasks, faults};
use secrecy::SecretString;
use sqlx::PgPool;

use crate::rabbitmq::{BATCH, BrokerError, Consumer, Received};
use crate::wakeup::Hint;
use crate::{BatchSize, TransportConfig, inbox};

/// Wait before the next connection to the broker, or the next attempt to store a batch. The cap is what an outage may
/// cost beyond its end.
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));

/// How long an intake that is asked to stop may go on.
const FINISH: Duration = Duration::from_secs(5);

/// Moves messages of one queue into the inbox until shutdown, and reconnects after every error.
pub async fn run(pool: PgPool, transport: TransportConfig, queue: Queue, tasks: Tasks) {
    let Some(url) = transport.rabbitmq_url else { return tasks.shutdown.cancelled().await };
    let patience = async {
        tasks.shutdown.cancelled().await;
        tokio::time::sleep(FINISH).await;
    };
    tokio::select! {
        () = keep_consuming(&pool, &url, queue, &tasks) => {}
        () = patience => tracing::warn!(%queue, "intake did not end in time; the broker redelivers what it held"),
    }
}

async fn keep_consuming(pool: &PgPool, url: &SecretString, queue: Queue, tasks: &Tasks) {
    let hint = Hint::start(pool, inbox::channel(queue), tasks);
    let (mut failures, mut size) = (0, BatchSize::new("intake", i64::try_from(BATCH).unwrap_or(i64::MAX)));
    while !tasks.shutdown.is_cancelled() {
        let Err(error) = consume(pool, url, queue, &hint, &mut size, &mut failures, tasks).await else { return };
        failures += 1;
        let wait = RETRY.delay(failures);
        tracing::warn!(%queue, %error, retry_in = ?wait, "intake interrupted");
        tokio::select! {
            () = tasks.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Consumes over one connection until it fails or the process stops.
///
/// Then it stores what the broker has sent ahead. All of that would go back otherwise, and each return brings a message closer
/// to a limit that a policy may set.
async fn consume(
    pool: &PgPool,
    url: &SecretString,
    queue: Queue,
    hint: &Hint,
    size: &mut BatchSize,
    failures: &mut u32,
    tasks: &Tasks,
) -> Result<(), BrokerError> {
    let mut consumer = Consumer::connect(url, queue).await?;
    tracing::info!(%queue, "consuming from RabbitMQ");
    *failures = 0;
    while let Some(received) = consumer.receive(tasks.shutdown.cancelled()).await? {
        faults::point("intake.batch.received");
        store(pool, queue, &consumer, &received, size).await?;
        faults::point("intake.batch.acknowledged");
        hint.send();
    }
    let received = consumer.last().await?;
    store(pool, queue, &consumer, &received, size).await?;
    consumer.close().await
}

/// Commits what was received and acknowledges it, and waits while the database is unreachable. If a commit takes too long,
/// the next one has half of the rows. A row that the database refuses (an id from beyond the dedupe horizon has no partition)
/// goes to the dead-letter queue and does not block the rest.
async fn store(
    pool: &PgPool,
    queue: Queue,
    consumer: &Consumer,
    received: &Received,
    size: &mut BatchSize,
) -> Result<(), BrokerError> {
    let events: Vec<Envelope> = received.events.iter().map(|(_, event)| event.clone()).collect();
    let (mut rest, mut failures) = (events.as_slice(), 0);
    while !rest.is_empty() {
        let part = &rest[..rest.len().min(usize::try_from(size.rows()).unwrap_or(usize::MAX))];
        let rows = i64::try_from(part.len()).unwrap_or(i64::MAX);
        match limited(inbox::insert(pool, queue, part)).await {
            Ok(_) => {
                size.succeeded(rows);
                (rest, failures) = (&rest[part.len()..], 0);
            }
            Err(error) if refuses_the_data(&error) => {
                tracing::warn!(%queue, %error, "batch refused; storing its rows one by one");
                return store_one_by_one(pool, queue, consumer, received).await;
            }
            Err(error) => {
                failures += 1;
                size.failed(rows, &error);
                tracing::warn!(%queue, %error, "inbox not reachable; holding the batch");
                tokio::time::sleep(RETRY.delay(failures)).await;
            }
        }
    }
    faults::point("intake.batch.committed");
    consumer.acknowledge(received).await
}

async fn store_one_by_one(
    pool: &PgPool,
    queue: Queue,
    consumer: &Consumer,
    received: &Received,
) -> Result<(), BrokerError> {
    for (tag, event) in &received.events {
        let mut failures = 0;
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
                Err(_unreachable) => {
                    failures += 1;
                    tokio::time::sleep(RETRY.delay(failures)).await;
                }
            }
        }
    }
    Ok(())
}
