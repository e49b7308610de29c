//! Between outbox and inbox on a wire that breaks at the worst moment.

use anyhow::{Context, Result};
use contracts::{OrderState, Queue};
use futures_util::future::try_join_all;
use messaging::leases::Consumer;
use messaging::rabbitmq::{Outgoing, Publisher, Verdict};
use messaging::{TransportConfig, intake};
use reqwest::Url;
use runtime::{Ids, Tasks, database};
use secrecy::ExposeSecret;
use standalone::Part;
use tests::books::{count, passed, published, recording};
use tests::events::{event, record};
use tests::faults::proxy::{Direction, Mode, Proxy};
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, eventually, shop};
use tokio_util::sync::CancellationToken;

/// Every order is announced in this queue, and so is every event that [`record`] writes.
const QUEUE: Queue = Queue::Notifications;
const ARRIVED: &str = "select count(*) from messaging.inbox where queue = 'notifications'";

/// The same broker, through a proxy.
async fn behind_a_proxy(direct: &TransportConfig) -> Result<(Proxy, TransportConfig)> {
    let mut url: Url = direct.rabbitmq_url.as_ref().context("RabbitMQ")?.expose_secret().parse()?;
    let target = url.socket_addrs(|| None)?.into_iter().next().context("an address")?;
    let proxy = Proxy::start(target, 0).await?;
    url.set_port(Some(proxy.address().port())).ok().context("a URL with a port")?;
    Ok((proxy, TransportConfig { rabbitmq_url: Some(url.to_string().into()) }))
}

/// The broker has the messages and its confirms get lost: the relay cannot know, so it must not record them as sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_counts_as_published_only_once_its_confirm_has_arrived() -> Result<()> {
    let broker = Broker::new().await?;
    let (proxy, proxied) = behind_a_proxy(&broker.transport()).await?;
    let system = System::start_via(&proxied, &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let place = || shop::order_in(&system.api, OrderState::PendingPayment);
    place().await?;
    eventually_equal("the relay is at work", SOON, 1, async || published(pool).await).await?;
    let intake = system.intakes(&broker.transport(), &[QUEUE]).await?;

    proxy.set(Mode::Blackhole(Direction::ToClient));
    // Enough for some to be in the shard group that has its connection already.
    try_join_all((0..40).map(|_| place())).await?;
    eventually("the broker has one", SOON, async || Ok((count(pool, ARRIVED).await? > 1).then_some(()))).await?;
    assert_eq!(published(pool).await?, 1, "but has not confirmed it");

    proxy.set(Mode::Quiet);
    eventually_equal("every event is confirmed", SOON, 41, async || published(pool).await).await?;
    eventually_equal("every event has arrived", SOON, 41, async || count(pool, ARRIVED).await).await?;
    intake.drain(SOON).await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_acknowledged_only_once_it_is_in_the_inbox() -> Result<()> {
    let broker = Broker::new().await?;
    let transport = broker.transport();
    let system = System::start_via(&transport, &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let mut inbox = pool.begin().await?;
    sqlx::query("lock table messaging.inbox in access exclusive mode").execute(&mut *inbox).await?;
    let doomed = database::connect(&system.database.config(), Some("articurated_workers"), "doomed").await?;
    let tasks = Tasks::new(CancellationToken::new());
    let dies_here = tokio::spawn(intake::run(doomed, transport.clone(), QUEUE, tasks.clone()));
    shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let inserting = "select pid from pg_stat_activity where application_name = 'doomed' and wait_event_type = 'Lock'";
    let backend: i32 = eventually("the intake is about to commit", SOON, async || {
        Ok(sqlx::query_scalar(inserting).fetch_optional(pool).await?)
    })
    .await?;
    dies_here.abort();
    // Otherwise its statement would run after its death.
    sqlx::query("select pg_terminate_backend($1)").bind(backend).execute(pool).await?;
    inbox.rollback().await?;

    let successor = system.intakes(&transport, &[QUEUE]).await?;
    eventually_equal("the broker redelivers the message", SOON, 1, async || count(pool, ARRIVED).await).await?;
    successor.drain(SOON).await?;
    tasks.drain(SOON).await?;
    system.finish().await
}

/// Retention waits for it: what is in the broker is not in the inbox yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_of_arrivals_waits_for_the_inbox_and_not_for_the_confirm() -> Result<()> {
    const BEHIND: &str = "select count(*) from messaging.last_marks
                          where consumer = 'arrived' and mark < (select max(position) from messaging.outbox)";
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    shop::order_in(&system.api, OrderState::Paid).await?;
    eventually_equal("both events are published", SOON, 2, async || published(pool).await).await?;
    eventually_equal("the relay has passed them", SOON, 0, async || {
        count(pool, "select count(*) from messaging.last_marks where consumer = 'relay' and mark < 2").await
    })
    .await?;
    assert_eq!(count(pool, BEHIND).await?, 16, "the broker has one of them, and no consumer has taken it");

    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    eventually_equal("all have arrived", SOON, 0, async || count(pool, BEHIND).await).await?;
    intakes.drain(SOON).await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_versions_of_an_order_say_what_comes_first_and_not_their_positions() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Relay]).await?;
    let pool = &system.database.pool;
    let order = Ids::system().next();
    let mut both = pool.begin().await?;
    for version in [2, 1] {
        record(&mut both, order, version).await?;
    }
    both.commit().await?;
    eventually_equal("both events are published", SOON, 2, async || published(pool).await).await?;
    let intake = system.intakes(&broker.transport(), &[QUEUE]).await?;
    eventually_equal("both events arrive", SOON, 2, async || count(pool, ARRIVED).await).await?;
    let arrived: Vec<i32> = sqlx::query_scalar("select aggregate_version from messaging.inbox order by received_at")
        .fetch_all(pool)
        .await?;
    assert_eq!(arrived, [1, 2]);
    intake.drain(SOON).await?;
    // Not `finish`: no command wrote these two.
    system.abandon().await
}

/// While one batch is on the wire, the relay reads the next. A row that commits late below must still go first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_ahead_does_not_overtake_what_commits_late() -> Result<()> {
    const BATCH: i64 = 5;
    let broker = Broker::new().await?;
    let system = System::start(|options| {
        options.parts = vec![Part::Relay];
        options.transport = broker.transport();
        options.relay.batch = BATCH;
        // The rest of this test is about the order within one group of shards.
        options.relay.shard_groups = 1;
    })
    .await?;
    let pool = &system.database.pool;
    let ids = Ids::system();
    record(&mut *pool.acquire().await?, ids.next(), 1).await?;
    // Then nothing but this backlog can make the relay wait for the locks below.
    passed(pool, Consumer::Relay, SOON).await?;

    let order = ids.next();
    let mut late = pool.begin().await?;
    record(&mut late, order, 1).await?;
    // Recording waits for these locks, so the relay stops in the middle of the backlog, perhaps with some of it read ahead.
    let mut leases = pool.begin().await?;
    sqlx::query("select from messaging.shard_leases for update").execute(&mut *leases).await?;
    let mut backlog = pool.begin().await?;
    for _ in 0..3 * BATCH {
        record(&mut backlog, ids.next(), 1).await?;
    }
    backlog.commit().await?;
    eventually_equal("the relay is about to record a batch", SOON, 1, async || recording(pool).await).await?;
    late.commit().await?;
    let mut newer = pool.begin().await?;
    record(&mut newer, order, 2).await?;
    for _ in 1..BATCH {
        record(&mut newer, ids.next(), 1).await?;
    }
    newer.commit().await?;
    leases.rollback().await?;

    eventually_equal("every event is published", SOON, 22, async || published(pool).await).await?;
    let intake = system.intakes(&broker.transport(), &[QUEUE]).await?;
    eventually_equal("every event arrives", SOON, 22, async || count(pool, ARRIVED).await).await?;
    let arrived = "select aggregate_version from messaging.inbox where aggregate_id = $1 order by received_at";
    let arrived: Vec<i32> = sqlx::query_scalar(arrived).bind(order).fetch_all(pool).await?;
    assert_eq!(arrived, [1, 2]);
    intake.drain(SOON).await?;
    // Not `finish`: no command wrote these.
    system.abandon().await
}

/// Some messages of each window come back, and lapin 4.12.3 may attach them to the confirms of their neighbours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_gets_the_verdict_that_is_its_own() -> Result<()> {
    const WINDOWS: usize = 20;
    const MESSAGES: usize = 300;
    let broker = Broker::new().await?;
    let url = broker.transport().rabbitmq_url.context("RabbitMQ")?;
    let publisher = Publisher::connect(&url).await?;
    broker.unbind(Queue::Refunds).await?;
    for _ in 0..WINDOWS {
        let events: Vec<_> = (0..MESSAGES).map(|_| event()).collect();
        // Both kinds are mixed, so that a confirm for several messages covers both.
        let queue = |place: usize| if place % 7 < 3 { Queue::Refunds } else { QUEUE };
        let window: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(place, event)| Outgoing { queue: queue(place), event, body: b"{}" })
            .collect();
        let verdicts = publisher.publish(&window).await?;
        let deserved = |message: &Outgoing<'_>| match message.queue {
            QUEUE => Verdict::Confirmed,
            _ => Verdict::Unroutable,
        };
        assert_eq!(verdicts, window.iter().map(deserved).collect::<Vec<_>>());
    }
    Ok(())
}
