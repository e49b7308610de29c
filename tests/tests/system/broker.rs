//! RabbitMQ when it misbehaves, and what operators see of it.

use anyhow::Result;
use contracts::{OrderState, Queue};
use messaging::TransportConfig;
use messaging::rabbitmq::{Defect, examine};
use standalone::Part;
use tests::books::count;
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books, shop};

async fn defects(broker: &Broker) -> Vec<Defect> {
    examine(&broker.transport()).await.expect("the transport is RabbitMQ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_alarm_holds_events_back_and_loses_none() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::start_via(&broker.transport(), &[Part::Command, Part::Relay]).await?;
    let pool = &system.database.pool;
    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    shop::order_in(&system.api, OrderState::Paid).await?;
    books::delivered(pool, SOON).await?;

    broker.memory_alarm(true).await?;
    let blocked = async {
        // The broker checks its memory from time to time, so the first probes may still get through.
        eventually_equal("the examination sees the alarm", SOON, true, async || {
            Ok(defects(&broker).await.contains(&Defect::Blocked))
        })
        .await?;
        shop::order_in(&system.api, OrderState::Shipped).await?;
        eventually_equal("events placed during the alarm wait", SOON, 4, async || books::pending(pool).await).await
    }
    .await;
    broker.memory_alarm(false).await?;
    blocked?;
    books::delivered(pool, SOON).await?;
    let exceptions = count(pool, "select count(*) from messaging.outbox_exceptions").await?;
    assert_eq!(exceptions, 0, "an alarm parks no event");
    intakes.drain(SOON).await?;
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_examination_names_what_is_missing_and_changes_nothing() -> Result<()> {
    let broker = Broker::new().await?;
    assert_eq!(defects(&broker).await, [Defect::ExchangeMissing], "nothing has been declared yet");

    let system = System::start_via(&broker.transport(), &[Part::Command, Part::Relay]).await?;
    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    eventually_equal("the examination finds no defect", SOON, Vec::new(), async || Ok(defects(&broker).await)).await?;

    broker.unbind(Queue::Refunds).await?;
    assert_eq!(defects(&broker).await, [Defect::BindingMissing(Queue::Refunds)]);
    assert_eq!(defects(&broker).await, [Defect::BindingMissing(Queue::Refunds)], "an examination repairs nothing");
    intakes.drain(SOON).await?;
    // The broker takes a while to notice; then the probes stay in the queues until they expire.
    eventually_equal("no queue has a consumer", SOON, Queue::JOBS.to_vec(), async || {
        let alone = |defect| if let Defect::NoConsumer(queue, _) = defect { Some(queue) } else { None };
        Ok(defects(&broker).await.into_iter().filter_map(alone).collect())
    })
    .await?;

    broker.delete_queue(Queue::Invoices).await?;
    assert!(defects(&broker).await.contains(&Defect::QueueMissing(Queue::Invoices)));
    let arrived = count(&system.database.pool, "select count(*) from messaging.inbox").await?;
    assert_eq!(arrived, 0, "probes do not reach the inbox");

    let nowhere = TransportConfig { rabbitmq_url: Some("amqp://127.0.0.1:1".to_owned().into()) };
    assert!(matches!(examine(&nowhere).await.as_deref(), Some([Defect::Unreachable(_)])));
    assert_eq!(examine(&TransportConfig::default()).await, None);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_parked_with_the_reason() -> Result<()> {
    let broker = Broker::new().await?;
    let system = System::commands_only().await?;
    let spoilt = [
        ("UNROUTABLE", "event_type = 'order.eaten'"),
        ("TOO_LARGE", "payload = payload || jsonb_build_object('padding', repeat('x', 9 * 1024 * 1024))"),
    ];
    let mut orders = Vec::new();
    for _ in spoilt {
        orders.push(shop::order_in(&system.api, OrderState::Paid).await?.id);
    }
    let healthy = shop::order_in(&system.api, OrderState::Paid).await?.id;
    let database = system.stop().await?;
    for ((_, spoil), order) in spoilt.into_iter().zip(orders) {
        let update = format!("update messaging.outbox set {spoil} where aggregate_id = $1 and aggregate_version = 1");
        sqlx::query(sqlx::AssertSqlSafe(update)).bind(order).execute(&database.pool).await?;
    }
    let system = System::start_on(database, |options| {
        options.parts = vec![Part::Relay];
        options.transport = broker.transport();
    })
    .await?;
    let pool = &system.database.pool;
    let out = "select count(*) from messaging.outbox
               where aggregate_id = $1 and position in (select unnest(positions) from messaging.relay_batches)";
    eventually_equal("the healthy order goes out", SOON, 2_i64, async || {
        Ok(sqlx::query_scalar(out).bind(healthy).fetch_one(pool).await?)
    })
    .await?;
    // A newer relay may know the type. As if this one had waited for it for an hour:
    let aged = "update messaging.outbox_exceptions
                set created_at = created_at - interval '1 hour', next_attempt_at = clock_timestamp() where status = 'WAITING'";
    eventually_equal("one of the others waits", SOON, 1, async || {
        Ok(sqlx::query(aged).execute(pool).await?.rows_affected())
    })
    .await?;
    let parked = "select parked_reason from messaging.outbox_exceptions where status = 'PARKED' order by 1";
    eventually_equal("each of the others is parked", SOON, vec!["TOO_LARGE", "UNROUTABLE"], async || {
        let reasons: Vec<String> = sqlx::query_scalar(parked).fetch_all(pool).await?;
        Ok(reasons
            .into_iter()
            .map(|reason| spoilt.iter().find(|known| known.0 == reason).map_or("?", |known| known.0))
            .collect())
    })
    .await?;
    let held = "select count(*) from messaging.outbox_exceptions where status = 'HELD'";
    let what = "and each holds back the next event of its own order";
    eventually_equal(what, SOON, 2, async || count(pool, held).await).await?;
    system.finish().await
}
