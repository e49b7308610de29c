//! What RabbitMQ has confirmed and then loses, or gives up, arrives all the same.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use contracts::{Envelope, OrderState, Queue};
use embedded::child::{Child, Signal, bound_to_parent};
use messaging::rabbitmq::{BrokerError, Defect, Outgoing, Publisher, examine};
use messaging::{RetentionConfig, TransportConfig, intake};
use operations::doctor::{Finding, Surroundings, diagnose};
use runtime::{Clock, Tasks};
use secrecy::ExposeSecret;
use sqlx::PgPool;
use standalone::Part;
use tests::books::{count, delivered, published};
use tests::events::{event, record};
use tests::services::Broker;
use tests::waiting::{SOON, eventually, eventually_equal};
use tests::{Database, System, programs, shop};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Every order is announced in this queue.
const QUEUE: Queue = Queue::Notifications;
const NOTIFICATIONS: &str = "articurated.notifications";
const ARRIVED: &str = "select count(*) from messaging.inbox where queue = 'notifications'";
const AWAITED: &str = "select count(*) from messaging.awaited_arrivals";
const DEAD_QUEUE: &str = "articurated.dead";

/// A system whose relay sends again after a second what has not arrived.
async fn impatient(broker: &Broker) -> Result<System> {
    System::start(|options| {
        options.parts = vec![Part::Command, Part::Relay];
        options.transport = broker.transport();
        options.relay.resend_after = Duration::from_secs(1);
    })
    .await
}

/// The messages that the relays have recorded as lost or given up.
async fn losses(pool: &PgPool, reason: &str) -> Result<i64> {
    let sum = "select coalesce(sum(cardinality(event_ids)), 0)::bigint from messaging.broker_losses where reason = $1";
    Ok(sqlx::query_scalar(sum).bind(reason).fetch_one(pool).await?)
}

async fn findings(pool: &PgPool, transport: TransportConfig) -> Result<Vec<Finding>> {
    let surroundings = Surroundings { transport, retention: RetentionConfig::default(), clock: Clock::system() };
    Ok(diagnose(pool, &surroundings).await?.findings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_broker_loses_is_sent_again_until_it_arrives() -> Result<()> {
    let broker = Broker::new().await?;
    let system = impatient(&broker).await?;
    let pool = &system.database.pool;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    eventually_equal("the broker has confirmed it", SOON, 1, async || published(pool).await).await?;
    let in_queue = async || broker.ready(NOTIFICATIONS).await;

    for time in 1..=2_i64 {
        broker.purge(QUEUE).await?;
        eventually_equal("it is in the queue again", SOON, 1, in_queue).await?;
        eventually_equal("that is on record", SOON, time, async || losses(pool, "not_arrived").await).await?;
        eventually_equal("it counts as not arrived", SOON, 1, async || count(pool, AWAITED).await).await?;
        // As if a look had passed it while it was an exception.
        let passed = "insert into messaging.marks (consumer, shard, epoch, mark)
                      select name.consumer, shard, 0, mark
                      from messaging.last_marks as last cross join unnest(array['arrived', 'projections']) as name (consumer)
                      where last.consumer = 'relay'";
        sqlx::query(passed).execute(pool).await?;
    }
    let unsettled =
        "select messaging.unsettled(name, messaging.lowest_event_id(from_at), messaging.lowest_event_id(until_at))
         from messaging.partitions where parent = 'outbox' and from_at <= now() and until_at > now()";
    let why: Option<String> = sqlx::query_scalar(unsettled).fetch_one(pool).await?;
    assert_eq!(why.as_deref(), Some("an event in it has not arrived"), "retention waits for it");

    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    delivered(pool, SOON).await?;
    eventually_equal("nothing is awaited any more", SOON, 0, async || count(pool, AWAITED).await).await?;
    let again = findings(pool, broker.transport()).await?;
    assert!(again.iter().any(|finding| finding.code == "EVENTS_SENT_AGAIN"), "{again:#?}");
    intakes.drain(SOON).await?;
    // Not `finish`: the marks of the projections are made up.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_consumer_is_not_sent_again() -> Result<()> {
    let broker = Broker::new().await?;
    let system = impatient(&broker).await?;
    let pool = &system.database.pool;
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    eventually_equal("it is published", SOON, 1, async || published(pool).await).await?;
    let other = "select count(*) from messaging.last_marks where consumer = 'arrived' and mark > 0";
    let waited = "select max(confirmed_at) < clock_timestamp() - interval '6 seconds' from messaging.relay_batches";
    eventually("the relay has looked three times", SOON, async || {
        let waited: bool = sqlx::query_scalar(waited).fetch_one(pool).await?;
        Ok(waited.then_some(()))
    })
    .await?;
    assert_eq!((losses(pool, "not_arrived").await?, count(pool, other).await?), (0, 0), "its queue is not empty");
    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    delivered(pool, SOON).await?;
    intakes.drain(SOON).await?;
    system.finish().await
}

/// The relay has stopped at a shard of which too much cannot go out. What it sends of the others is followed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_shard_does_not_stop_the_arrivals_of_the_others() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Command]).await?;
    let pool = &system.database.pool;
    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    let relay = system.another_relay("before").await?;
    let stuck = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
    let marks = "select count(*) from messaging.last_marks where consumer in ('arrived', 'relay') and mark > 0";
    eventually_equal("every shard has its marks", SOON, 32, async || count(pool, marks).await).await?;
    relay.drain(SOON).await?;

    let full = "insert into messaging.outbox_exceptions
                    (event_id, position, shard, aggregate_id, aggregate_version, status, attempts, last_error, next_attempt_at)
                select messaging.new_id(), position, shard, gen_random_uuid(), 1, 'WAITING', 1, 'no', clock_timestamp() + interval '1 hour'
                from messaging.outbox cross join generate_series(1, 10000) where aggregate_id = $1";
    sqlx::query(full).bind(stuck).execute(pool).await?;
    shop::step(&system.api, stuck, "pay").await?.expect(200);
    let elsewhere = "select count(*) from messaging.outbox
                     where aggregate_version = 1 and shard <> (select shard from messaging.outbox where aggregate_id = $1 limit 1)";
    eventually("an order of another shard is placed", SOON, async || {
        shop::place(&system.api, &shop::order()).await?;
        let others: i64 = sqlx::query_scalar(elsewhere).bind(stuck).fetch_one(pool).await?;
        Ok((others > 0).then_some(()))
    })
    .await?;
    let relay = system.another_relay("after").await?;
    let arrived = "select bool_and(mark >= (select max(position) from messaging.outbox)) from messaging.last_marks
                   where consumer = 'arrived' and shard <> (select shard from messaging.outbox where aggregate_id = $1 limit 1)";
    eventually_equal("the marks of the others go on", SOON, true, async || {
        Ok(sqlx::query_scalar(arrived).bind(stuck).fetch_one(pool).await?)
    })
    .await?;
    relay.drain(SOON).await?;
    intakes.drain(SOON).await?;
    // Not `finish`: most of the exceptions are made up.
    system.abandon().await
}

/// Starts the real workers, which die when they have received their first batch, and waits for that.
async fn workers_that_die(database: &Database, transport: &TransportConfig) -> Result<()> {
    let folder = tokio::task::spawn_blocking(programs::folder).await?;
    let url = transport.rabbitmq_url.as_ref().context("RabbitMQ")?;
    let store = tempfile::tempdir()?;
    let mut command = bound_to_parent(Signal::SIGKILL, folder.join("workers"));
    command.env("DATABASE_URL", &database.url).env("RABBITMQ_URL", url.expose_secret());
    command.env("WORKERS_PORT", embedded::free_port()?.to_string()).env("INVOICE_STORE_URL", store.path());
    command.env("CHROMIUM_PATH", "/nowhere").env("FAULT_POINT", "intake.batch.received:1");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::spawn("workers", command)?;
    let waiting = child.clone();
    let ended = tokio::task::spawn_blocking(move || waiting.wait(SOON)).await?;
    child.signal(Signal::SIGKILL);
    ensure!(ended, "the workers received no batch");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_gives_messages_up_loses_none_and_is_named() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    broker.set_policy(r#"{"delivery-limit": 3}"#).await?;
    for _ in 0..5 {
        // One that has not been given up yet, so that the workers receive a batch.
        shop::order_in(&system.api, OrderState::PendingPayment).await?;
        workers_that_die(&system.database, &broker.transport()).await?;
    }
    eventually("the broker gives up the first, and a relay delivers it", SOON, async || {
        Ok((losses(pool, "delivery_limit").await? > 0).then_some(()))
    })
    .await?;
    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    delivered(pool, SOON).await?;
    eventually_equal("the dead letters are gone", SOON, 0, async || broker.ready(DEAD_QUEUE).await).await?;
    let found = findings(pool, broker.transport()).await?;
    let named = found.iter().find(|finding| finding.code == "BROKER_POLICY").context("it is named")?;
    assert!(named.cause.contains("delivery-limit") && named.cause.contains(NOTIFICATIONS), "{named:?}");
    assert!(found.iter().all(|finding| finding.code != "DEAD_LETTERS"), "{found:#?}");
    intakes.drain(SOON).await?;
    system.finish().await
}

/// The message is broken on the wire. The event in the log is not, so its job can be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_message_is_rejected_reaches_the_inbox_and_an_alien_message_stays() -> Result<()> {
    let broker = Broker::new().await?;
    let transport = broker.transport();
    let database = Database::new().await?;
    let publisher = Publisher::connect(transport.rabbitmq_url.as_ref().context("RabbitMQ")?).await?;
    record(&mut *database.pool.acquire().await?, Uuid::from_u128(9), 1).await?;
    let known: Uuid = sqlx::query_scalar("select event_id from messaging.outbox").fetch_one(&database.pool).await?;
    let ours = Envelope { event_id: known, ..event() };
    let alien = event();
    let window = [&ours, &alien].map(|event| Outgoing { queue: QUEUE, event, body: b"{" });
    publisher.publish(&window).await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Command];
        options.transport = transport.clone();
    })
    .await?;
    let pool = &system.database.pool;
    let intakes = system.intakes(&transport, &[QUEUE]).await?;
    eventually_equal("both are rejected", SOON, 2, async || broker.ready(DEAD_QUEUE).await).await?;
    // What the relay sends in the usual way stays in the queue.
    intakes.drain(SOON).await?;

    let relay = system.another_relay("the relay").await?;
    eventually_equal("the relay delivers ours", SOON, 1, async || losses(pool, "rejected").await).await?;
    assert_eq!(count(pool, ARRIVED).await?, 1);
    eventually_equal("the other stays for an operator", SOON, 1, async || broker.ready(DEAD_QUEUE).await).await?;
    let found = examine(&transport).await.context("RabbitMQ")?;
    assert!(found.contains(&Defect::DeadLetters(1)), "{found:?}");
    relay.drain(SOON).await?;
    // Not `finish`: no command wrote the event.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intake_that_stops_returns_no_message() -> Result<()> {
    const EVENTS: usize = 3_000;
    let broker = Broker::new().await?;
    let (transport, database) = (broker.transport(), Database::new().await?);
    let publisher = Publisher::connect(transport.rabbitmq_url.as_ref().context("RabbitMQ")?).await?;
    // With this policy the broker gives up each message that comes back.
    broker.set_policy(r#"{"delivery-limit": 0}"#).await?;
    let events: Vec<_> = (0..EVENTS).map(|_| event()).collect();
    let bodies = events.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
    let window = events.iter().zip(&bodies).map(|(event, body)| Outgoing { queue: QUEUE, event, body });
    publisher.publish(&window.collect::<Vec<_>>()).await?;

    let tasks = Tasks::new(CancellationToken::new());
    let pool = database.pool_as("articurated_workers").await?;
    tasks.spawn("intake", intake::run(pool, transport, QUEUE, tasks.clone()));
    let some = async || Ok((count(&database.pool, ARRIVED).await? > 0).then_some(()));
    eventually("the first batch is in the inbox", SOON, some).await?;
    tasks.drain(SOON).await?;
    let arrived = count(&database.pool, ARRIVED).await?;
    let whole = i64::try_from(EVENTS)?;
    eventually_equal("the others wait in their queue", SOON, whole, async || {
        Ok(arrived + i64::from(broker.ready(NOTIFICATIONS).await?))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_arguments_is_named_with_the_way_out() -> Result<()> {
    let broker = Broker::new().await?;
    let transport = broker.transport();
    let url = transport.rabbitmq_url.as_ref().context("RabbitMQ")?;
    broker.declare_otherwise(QUEUE).await?;
    let refused = Publisher::connect(url).await.err().context("the declaration contradicts the queue")?;
    assert!(matches!(&refused, BrokerError::OtherArguments { queue, .. } if queue == NOTIFICATIONS));
    assert!(refused.to_string().contains("rabbitmqctl delete_queue articurated.notifications"), "{refused}");
    let found = examine(&transport).await.context("RabbitMQ")?;
    assert!(found.iter().any(|defect| matches!(defect, Defect::OtherArguments(QUEUE, _))), "{found:?}");

    broker.delete_queue(QUEUE).await?;
    Publisher::connect(url).await?;
    let found = examine(&transport).await.context("RabbitMQ")?;
    assert!(!found.iter().any(|defect| matches!(defect, Defect::OtherArguments(..))), "{found:?}");
    Ok(())
}
