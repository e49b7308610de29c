//! From the outbox to the inbox: every event, once, in the order of its aggregate.

use std::time::{Duration, Instant};

use anyhow::Result;
use contracts::{OrderState, Queue};
use futures_util::future::try_join_all;
use messaging::TransportConfig;
use messaging::leases::LEASE;
use runtime::{Clock, Ids, Tasks};
use standalone::Part;
use tests::books::{count, pending, published};
use tests::events::{back_off, record, send_all_to_one_queue};
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System, books, eventually, shop};
use tokio_util::sync::CancellationToken;

/// How long relay and intakes may take to recover: their reconnects back off to 2 s, an answer may take 10 s.
const BACK: Duration = Duration::from_secs(60);

/// A relay in a runtime of its own, which can die as a process dies: at once, and still holding its leases.
struct Doomed(tokio::runtime::Runtime);

impl Doomed {
    async fn start(system: &System, name: &'static str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let config = system.database.config();
        runtime
            .spawn(async move {
                let pool = runtime::database::connect(&config, Some("articurated_relay"), name).await?;
                let tasks = Tasks::new(CancellationToken::new());
                outbox_relay::start(
                    &pool,
                    &config,
                    &TransportConfig::default(),
                    &outbox_relay::Settings::default(),
                    name,
                    &Clock::system(),
                    &tasks,
                );
                anyhow::Ok(())
            })
            .await??;
        Ok(Self(runtime))
    }

    fn dies(self) {
        self.0.shutdown_background();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_come_and_go_and_die_and_every_event_is_delivered_once() -> Result<()> {
    let system = System::commands_only().await?;
    let pool = &system.database.pool;
    send_all_to_one_queue(pool).await?;
    let doomed = Doomed::start(&system, "doomed").await?;
    let leaving = system.another_relay("leaving").await?;
    let both = "select count(distinct owner) from messaging.held_shards";
    eventually_equal("both relays lease shards", SOON, 2, async || count(pool, both).await).await?;
    shop::sell(&system.api, 60).await?;
    leaving.drain(SOON).await?;
    shop::sell(&system.api, 40).await?;
    doomed.dies();
    shop::sell(&system.api, 40).await?;
    let late = system.another_relay("late").await?;
    shop::sell(&system.api, 20).await?;
    books::delivered(pool, LEASE + SOON).await?;

    assert_eq!(count(pool, "select count(*) from messaging.outbox").await?, 4 * 160);
    assert_eq!(count(pool, "select count(*) from messaging.inbox where queue = 'notifications'").await?, 4 * 160);
    assert_eq!(books::published_again(pool).await?, 0, "each went out once");
    let too_early = "select count(*) from messaging.inbox join messaging.outbox using (event_id)
                     where received_at < occurred_at - interval '1 s'";
    assert_eq!(count(pool, too_early).await?, 0);
    assert_eq!(books::out_of_order(pool).await?, 0);
    late.drain(SOON).await?;
    let held = "select count(*) from messaging.held_shards";
    assert_eq!(count(pool, held).await?, 0, "a relay that stops gives back its shards");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_an_unknown_type_waits_and_is_parked_and_only_its_own_order_waits_too() -> Result<()> {
    let system = System::commands_only().await?;
    one_order_waits(&system).await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rabbitmq_too_only_the_order_of_an_unwanted_event_waits() -> Result<()> {
    let broker = Broker::new().await?;
    let transport = broker.transport();
    let system = System::start_via(&transport, &[Part::Command]).await?;
    let intakes = system.intakes(&transport, &Queue::JOBS).await?;
    one_order_waits(&system).await?;
    intakes.drain(SOON).await?;
    system.finish().await
}

/// Positions commit out of order. A relay that only reads on from its head would miss the row of a transaction that is still
/// open, and let the next version of the same aggregate overtake it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_commits_late_is_neither_missed_nor_overtaken() -> Result<()> {
    let system = System::start(|options| options.parts = vec![Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let late = Ids::system().next();
    let mut open = pool.begin().await?;
    record(&mut open, late, 1).await?;

    // Long enough for the relay to read many times, and to store its mark.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        shop::sell(&system.api, 1).await?;
        eventually_equal("committed events are published", SOON, 0, async || pending(pool).await).await?;
    }
    open.commit().await?;
    record(&mut *pool.acquire().await?, late, 2).await?;

    let order = "select aggregate_version from messaging.inbox where queue = 'notifications' and aggregate_id = $1
                 order by received_at";
    eventually_equal("both events arrive in order", SOON, vec![1, 2], async || {
        Ok(sqlx::query_scalar(order).bind(late).fetch_all(pool).await?)
    })
    .await?;
    // Not `finish`: no command wrote these two.
    system.abandon().await
}

/// Pipelined publishes share a window, and lapin 4.12.3 may attach a returned message to a neighbour's confirm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_returns_is_parked_and_what_it_took_beside_it_is_not() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let in_warehouse =
        try_join_all((0..20).map(|_| shop::order_in(&system.api, OrderState::ProcessingInWarehouse))).await?;
    eventually_equal("every event is published", SOON, 60, async || published(pool).await).await?;

    // This queue takes `order.created`, and another one takes `order.shipped`.
    broker.delete_queue(Queue::Notifications).await?;
    let ship = try_join_all(in_warehouse.iter().map(|order| shop::step(&system.api, order.id, "ship")));
    let place = try_join_all((0..20).map(|_| shop::order_in(&system.api, OrderState::PendingPayment)));
    let (shipped, _placed) = tokio::try_join!(ship, place)?;
    for answer in shipped {
        answer.expect(200);
    }

    let parked = "select count(*) from messaging.outbox_exceptions join messaging.outbox using (event_id)
                  where parked_reason = 'UNROUTABLE' and event_type = 'order.created'";
    eventually_equal("returned events are parked", SOON, 20, async || count(pool, parked).await).await?;
    eventually_equal("accepted events are published", SOON, 80, async || published(pool).await).await?;
    system.finish().await
}

/// What a read says about the mark is no more than it has seen: a read stops at the size of a batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_many_batches_goes_out_whole() -> Result<()> {
    const EVENTS: i64 = 40;
    let database = Database::new().await?;
    let mut backlog = database.pool.begin().await?;
    for _ in 0..EVENTS {
        record(&mut backlog, Ids::system().next(), 1).await?;
    }
    backlog.commit().await?;
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Relay];
        options.relay.batch = 5;
    })
    .await?;
    eventually_equal("every event is delivered", SOON, EVENTS, async || {
        count(&system.database.pool, "select count(*) from messaging.inbox").await
    })
    .await?;
    // Not `finish`: no command wrote these.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_waits_behind_one_in_back_off() -> Result<()> {
    let database = Database::new().await?;
    let order = Ids::system().next();
    record(&mut *database.pool.acquire().await?, order, 1).await?;
    back_off(&database.pool, 60).await?;
    let system = System::start_on(database, |options| options.parts = vec![Part::Relay]).await?;
    let pool = &system.database.pool;
    record(&mut *pool.acquire().await?, order, 2).await?;
    let held = "select count(*) from messaging.outbox_exceptions where aggregate_version = 2 and status = 'HELD'";
    eventually_equal("the later event is held", SOON, 1, async || count(pool, held).await).await?;
    assert_eq!(published(pool).await?, 0);
    // Not `finish`: no command wrote these two.
    system.abandon().await
}

async fn one_order_waits(system: &System) -> Result<()> {
    let pool = &system.database.pool;
    send_all_to_one_queue(pool).await?;
    let stuck = shop::order_in(&system.api, OrderState::ProcessingInWarehouse).await?.id;
    let others = try_join_all((0..5).map(|_| shop::order_in(&system.api, OrderState::ProcessingInWarehouse))).await?;
    sqlx::query(
        "update messaging.outbox set event_type = 'order.eaten' where aggregate_id = $1 and aggregate_version = 2",
    )
    .bind(stuck)
    .execute(pool)
    .await?;
    let relay = system.another_relay("relay").await?;
    let delivered = async |id| -> Result<Vec<i32>> {
        let versions = "select aggregate_version from messaging.inbox where queue = 'notifications' and aggregate_id = $1 order by 1";
        Ok(sqlx::query_scalar(versions).bind(id).fetch_all(pool).await?)
    };
    for other in &others {
        eventually_equal("the others go on", SOON, vec![1, 2, 3], async || delivered(other.id).await).await?;
    }
    // A newer relay may know the event, so it waits for an hour before it is parked.
    let exception = async |status: &'static str| -> Result<(Option<String>, i32, Option<String>)> {
        let row = "select parked_reason, attempts, last_error from messaging.outbox_exceptions
                   where aggregate_id = $1 and status = $2";
        eventually(&format!("the event is {status}"), SOON, async || {
            Ok(sqlx::query_as(row).bind(stuck).bind(status).fetch_optional(pool).await?)
        })
        .await
    };
    let why = "this release does not know events of the type order.eaten: upgrade the relays, then replay";
    assert_eq!(exception("WAITING").await?, (None, 0, Some(why.to_owned())));
    let aged = "update messaging.outbox_exceptions
                set created_at = created_at - interval '1 hour', next_attempt_at = clock_timestamp() where status = 'WAITING'";
    sqlx::query(aged).execute(pool).await?;
    assert_eq!(exception("PARKED").await?, (Some("UNROUTABLE".to_owned()), 0, Some(why.to_owned())));
    let held = "select count(*) from messaging.outbox_exceptions where status = 'HELD'";
    eventually_equal("the event behind it is held", SOON, 1, async || count(pool, held).await).await?;
    // A later order goes out as well, so the relay has had the time to send the one that waits.
    let later = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
    eventually_equal("a later order goes on", SOON, vec![1], async || delivered(later).await).await?;
    assert_eq!(delivered(stuck).await?, [1], "later events wait behind the parked one");
    relay.drain(SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_may_restart_and_crash_in_the_middle_and_nothing_is_lost_or_reordered() -> Result<()> {
    let mut broker = Broker::new().await?;
    let transport = broker.transport();
    let system = System::start_via(&transport, &[Part::Command, Part::Relay]).await?;
    let intakes = system.intakes(&transport, &Queue::JOBS).await?;
    let pool = &system.database.pool;
    send_all_to_one_queue(pool).await?;
    shop::sell(&system.api, 40).await?;
    eventually("some have arrived", SOON, async || {
        Ok((count(pool, "select count(*) from messaging.inbox").await? > 0).then_some(()))
    })
    .await?;
    tokio::try_join!(shop::sell(&system.api, 60), broker.restart())?;
    books::delivered(pool, BACK).await?;

    let (selling, ()) = tokio::join!(shop::sell(&system.api, 60), async { broker.kill() });
    selling?;
    shop::sell(&system.api, 20).await?;
    assert!(pending(pool).await? > 0, "the broker is gone, so something must wait");
    broker.restart().await?;
    shop::sell(&system.api, 20).await?;
    books::delivered(pool, BACK).await?;

    assert_eq!(books::out_of_order(pool).await?, 0);
    assert_eq!(count(pool, "select count(*) from messaging.outbox_exceptions").await?, 0);
    intakes.drain(SOON).await?;
    system.finish().await
}
