//! Commands on a row that another transaction has locked.

use std::time::Duration;

use anyhow::Result;
use contracts::OrderState;
use futures_util::future::try_join_all;
use sqlx::{PgPool, Postgres, Transaction};
use standalone::Part;
use tests::{System, books, shop};
use uuid::Uuid;

/// A service with one batcher for each kind of command.
async fn start(deadline: Duration) -> Result<System> {
    System::start(|options| {
        options.parts = vec![Part::Command];
        options.command.command_batchers = 1;
        options.command.command_deadline = deadline;
    })
    .await
}

async fn locked(pool: &PgPool, table: &str, id: Uuid) -> Result<Transaction<'static, Postgres>> {
    let mut lock = pool.begin().await?;
    let statement = match table {
        "orders" => "select from command.orders where id = $1 for update",
        _ => "select from command.returns where id = $1 for update",
    };
    sqlx::query(statement).bind(id).execute(&mut *lock).await?;
    Ok(lock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_order_waits_while_the_others_go_on() -> Result<()> {
    let system = start(Duration::from_secs(20)).await?;
    let orders = try_join_all((0..9).map(|_| shop::order_in(&system.api, OrderState::PendingPayment))).await?;
    let lock = locked(&system.database.pool, "orders", orders[0].id).await?;
    let (api, id) = (system.api.clone(), orders[0].id);
    let paying = tokio::spawn(async move { shop::step(&api, id, "pay").await });
    for order in &orders[1..] {
        for step in ["pay", "processing", "ship", "deliver"] {
            shop::step(&system.api, order.id, step).await?.expect(200);
        }
    }
    assert!(!paying.is_finished());

    lock.rollback().await?;
    assert_eq!(paying.await??.expect(200).order().version, 2);
    assert_eq!(books::rows_about(&system.database.pool, id).await?, (2, 2));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_on_a_row_that_stays_locked_is_refused_and_never_executed() -> Result<()> {
    let system = start(Duration::from_secs(1)).await?;
    let order = shop::order_in(&system.api, OrderState::Delivered).await?;
    let unpaid = shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let returned = shop::request_return(&system.api, &order, 0, 1).await?;
    let before = books::row_counts(&system.database.pool).await?;

    let mut locks = Vec::new();
    for (table, id) in [("orders", order.id), ("orders", unpaid.id), ("returns", returned.id)] {
        locks.push(locked(&system.database.pool, table, id).await?);
    }
    let refused = shop::step(&system.api, unpaid.id, "pay").await?.refused(503, "ORDER_LOCKED");
    assert_eq!(refused.details["id"], unpaid.id.to_string());
    shop::return_step(&system.api, returned.id, "approve").await?.refused(503, "RETURN_LOCKED");
    let another = system.api.post("/returns", &shop::return_of(&order, 0, 1)).await?;
    another.refused(503, "ORDER_LOCKED");
    assert_eq!(another.header("retry-after"), "1");
    shop::step(&system.api, Uuid::nil(), "pay").await?.refused(404, "ORDER_NOT_FOUND");
    for lock in locks {
        lock.rollback().await?;
    }
    assert_eq!(books::row_counts(&system.database.pool).await?, before);

    shop::step(&system.api, unpaid.id, "pay").await?.expect(200);
    shop::return_step(&system.api, returned.id, "approve").await?.expect(200);
    shop::request_return(&system.api, &order, 0, 1).await?;
    system.finish().await
}
