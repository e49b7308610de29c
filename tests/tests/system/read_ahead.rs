//! Outbox → RabbitMQ: the relay reads a batch while the one before it is on the wire.

use anyhow::Result;
use contracts::{Envelope, Queue};
use runtime::Ids;
use sqlx::PgPool;
use standalone::Part;
use tests::books::{count, published};
use tests::events::{append, back_off, event, record};
use tests::services::Broker;
use tests::waiting::{SOON, eventually_equal};
use tests::{Database, System};

/// A relay that has a backlog, with batches of this size.
async fn relay(database: Database, broker: &Broker, batch: i64) -> Result<System> {
    System::start_on(database, |options| {
        options.parts = vec![Part::Relay];
        options.transport = broker.transport();
        options.relay.batch = batch;
        options.relay.shard_groups = 1;
    })
    .await
}

/// The backlog is as large as a batch, so what is read ahead is empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_read_ahead_does_not_make_the_relay_forget_what_it_has_not_recorded() -> Result<()> {
    let (broker, database) = (Broker::new().await?, Database::new().await?);
    let mut backlog = database.pool.begin().await?;
    for _ in 0..4 {
        record(&mut backlog, Ids::system().next(), 1).await?;
    }
    let eaten = Envelope { event_type: "order.eaten".to_owned(), aggregate_id: Ids::system().next(), ..event() };
    append(&mut backlog, &eaten).await?;
    backlog.commit().await?;

    let system = relay(database, &broker, 5).await?;
    let pool = &system.database.pool;
    let waits = "select count(*) from messaging.outbox_exceptions where status = 'WAITING'";
    eventually_equal("the unknown event waits", SOON, 1, async || count(pool, waits).await).await?;
    eventually_equal("the others are recorded", SOON, 4, async || published(pool).await).await?;
    system.abandon().await
}

/// The first event of an order is in back-off, and its time comes while a batch is on the wire in which the second one had to wait.
/// What is read ahead then has the third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_ahead_does_not_overtake_what_waits_on_the_wire() -> Result<()> {
    let (broker, database) = (Broker::new().await?, Database::new().await?);
    let order = Ids::system().next();
    let conn = &mut *database.pool.acquire().await?;
    record(conn, order, 1).await?;
    back_off(&database.pool, 60).await?;
    end_back_off_with_a_batch(&database.pool).await?;
    for (waiting, other) in [(None, 2), (Some(2), 1), (Some(3), 1)] {
        if let Some(version) = waiting {
            record(conn, order, version).await?;
        }
        for _ in 0..other {
            record(conn, Ids::system().next(), 1).await?;
        }
    }
    let system = relay(database, &broker, 2).await?;
    let pool = &system.database.pool;
    let intakes = system.intakes(&broker.transport(), &Queue::JOBS).await?;
    let order_of_arrival =
        "select aggregate_version from messaging.inbox where queue = 'notifications' and aggregate_id = $1
                            order by received_at";
    eventually_equal("all arrive in order", SOON, vec![1, 2, 3], async || {
        Ok(sqlx::query_scalar(order_of_arrival).bind(order).fetch_all(pool).await?)
    })
    .await?;
    intakes.drain(SOON).await?;
    // Not `finish`: no command wrote these.
    system.abandon().await
}

/// What is in back-off is due once the relay has recorded a batch.
async fn end_back_off_with_a_batch(pool: &PgPool) -> Result<()> {
    sqlx::raw_sql(
        "create function public.its_time_comes() returns trigger language plpgsql security definer as $$
         begin
             update messaging.outbox_exceptions set next_attempt_at = clock_timestamp()
             where next_attempt_at > clock_timestamp() + interval '30 minutes';
             return new;
         end $$;
         create trigger its_time_comes before insert on messaging.relay_batches
             for each row execute function public.its_time_comes()",
    )
    .execute(pool)
    .await?;
    Ok(())
}
