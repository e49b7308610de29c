//! One event that the database refuses, among others that it takes.

use anyhow::{Context, Result};
use contracts::{Envelope, Queue};
use messaging::rabbitmq::{Defect, Outgoing, Publisher, Verdict, examine};
use runtime::Ids;
use tests::books::{count, published};
use tests::events::{event, record};
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{System, books};
use uuid::Uuid;

use crate::operations::execute;

const QUEUE: Queue = Queue::Notifications;
const ARRIVED: &str = "select count(*) from messaging.inbox where queue = 'notifications'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_inbox_refuses_is_a_dead_letter_and_its_neighbours_arrive() -> Result<()> {
    let broker = Broker::new().await?;
    let transport = broker.transport();
    let system = System::commands_only().await?;
    let publisher = Publisher::connect(transport.rabbitmq_url.as_ref().context("RabbitMQ")?).await?;
    // No partition has an id of that time.
    let refused = Envelope { event_id: Uuid::from_u128(u128::MAX), ..event() };
    let events = [event(), refused, event()];
    let bodies = events.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
    let outgoing: Vec<_> =
        events.iter().zip(&bodies).map(|(event, body)| Outgoing { queue: QUEUE, event, body }).collect();
    assert_eq!(publisher.publish(&outgoing).await?, [const { Verdict::Confirmed }; 3]);

    let intake = system.intakes(&transport, &[QUEUE]).await?;
    let pool = &system.database.pool;
    eventually_equal("the neighbours arrive", SOON, 2, async || count(pool, ARRIVED).await).await?;
    eventually_equal("the broker keeps the refused message", SOON, true, async || {
        Ok(examine(&transport).await.context("RabbitMQ")?.contains(&Defect::DeadLetters(1)))
    })
    .await?;
    intake.drain(SOON).await?;
    // Not `finish`: no command wrote these.
    system.abandon().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_inbox_refuses_waits_alone_and_goes_out_once_it_is_taken() -> Result<()> {
    let system = System::commands_only().await?;
    let pool = &system.database.pool;
    let orders: Vec<Uuid> = (0..3).map(|_| Ids::system().next()).collect();
    let refuse = format!("alter table messaging.inbox add constraint refuses check (aggregate_id <> '{}')", orders[1]);
    execute(pool, &refuse).await?;
    let mut events = pool.begin().await?;
    for (order, version) in [(0, 1), (1, 1), (1, 2), (2, 1)] {
        record(&mut events, orders[order], version).await?;
    }
    events.commit().await?;
    let relay = system.another_relay("relay").await?;
    let refused = "select count(*) from messaging.outbox_exceptions
                   where status = 'WAITING' and attempts > 0 and last_error like '%violates check constraint%'";
    eventually_equal("it is refused alone", SOON, 1, async || count(pool, refused).await).await?;
    eventually_equal("the others go out", SOON, 2, async || published(pool).await).await?;

    execute(pool, "alter table messaging.inbox drop constraint refuses").await?;
    eventually_equal("it is retried, and what waits behind it follows", SOON, 4, async || published(pool).await)
        .await?;
    assert_eq!(books::out_of_order(pool).await?, 0);
    relay.drain(SOON).await?;
    // Not `finish`: no command wrote these.
    system.abandon().await
}
