//! Invoice numbers: no gap and no duplicate, even if workers are killed while they assign them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use contracts::OrderState;
use embedded::child::{Child, Signal, bound_to_parent};
use futures_util::future::try_join_all;
use standalone::Part;
use tests::waiting::eventually;
use tests::{System, books, programs, shop};

/// Orders shipped at once; the variable `SHIPMENTS` sets another number.
const SHIPMENTS: usize = 200;
/// Workers that are killed meanwhile, one after the other.
const KILLS: usize = 4;
/// Another worker takes over a killed one's jobs when their lease ends; the rest of the time is for printing.
const DONE_WITHIN: Duration = Duration::from_secs(240);

/// The real program.
async fn workers(system: &System) -> Result<Child> {
    let folder = tokio::task::spawn_blocking(programs::folder).await?;
    let mut command = bound_to_parent(Signal::SIGKILL, folder.join("workers"));
    command.env("DATABASE_URL", &system.database.url).env("WORKERS_PORT", embedded::free_port()?.to_string());
    command.env("INVOICE_STORE_URL", system.invoices()).env_remove("RABBITMQ_URL").env_remove("SMTP_URL");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Child::spawn("workers", command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shipments_at_once_get_consecutive_numbers_while_workers_are_killed() -> Result<()> {
    let shipments = std::env::var("SHIPMENTS").map_or(Ok(SHIPMENTS), |count| count.parse())?;
    let system = System::start(|options| options.parts = vec![Part::Command, Part::Relay, Part::Query]).await?;
    let (pool, api) = (&system.database.pool, &system.api);
    let body = shop::order_of(&[(1, 125_000)]);
    let mut orders = Vec::new();
    for first in (0..shipments).step_by(50) {
        let packed = (first..shipments.min(first + 50)).map(|_| async {
            let placed = shop::place(api, &body).await?;
            shop::bring(api, placed, OrderState::ProcessingInWarehouse).await
        });
        orders.extend(try_join_all(packed).await?);
    }
    let mut twins = [workers(&system).await?, workers(&system).await?];
    let shipped = try_join_all(orders.iter().map(|order| shop::step(api, order.id, "ship"))).await?;
    for answer in shipped {
        answer.expect(200);
    }

    let numbered = "select count(*) from work.invoices";
    for kill in 0..KILLS {
        let enough = i64::try_from(shipments * (kill + 1) / (KILLS + 2))?;
        eventually("more invoices have a number", DONE_WITHIN, async || {
            Ok((books::count(pool, numbered).await? >= enough).then_some(()))
        })
        .await?;
        twins[kill % 2].signal(Signal::SIGKILL);
        twins[kill % 2] = workers(&system).await?;
    }
    eventually("every invoice is stored", DONE_WITHIN, async || {
        let stored = books::count(pool, "select count(*) from work.invoices where stored_at is not null").await?;
        Ok((stored == i64::try_from(shipments)?).then_some(()))
    })
    .await?;
    let mut numbers: Vec<String> =
        sqlx::query_scalar("select right(invoice_number, 6) from work.invoices").fetch_all(pool).await?;
    numbers.sort();
    let expected: Vec<_> = (1..=shipments).map(|number| format!("{number:06}")).collect();
    assert_eq!(numbers, expected);
    drop(twins);
    // The audit also compares every file with its record.
    system.finish().await
}
