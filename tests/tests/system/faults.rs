//! A short run of the fault harness on each transport; `make faults` plays long ones.

use std::time::Duration;

use anyhow::Result;
use tests::faults::{self, Plan, Setup};

/// The same in every test run, so that it tests the same each time. Chance is for `make faults`.
const SEED: u64 = 2026;

async fn short_run(setup: Setup) -> Result<()> {
    let plan = Plan {
        seed: SEED,
        setup,
        at_least: Duration::ZERO,
        kills: 8,
        returns: 10,
        at_most: Duration::from_secs(300),
        storm: Duration::from_secs(8),
        orders_per_second: 3.0,
    };
    let report = faults::run(&plan).await?;
    // Not how long anything took: other tests are at work beside this one.
    assert!(report.violations().is_empty(), "{report}Logs and files are in {}", report.logs().display());
    assert!(report.kills() >= plan.kills, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_on_the_postgres_queue_nothing_is_lost_or_done_twice() -> Result<()> {
    short_run(Setup { rabbitmq: false, read_database: false }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_on_rabbitmq_nothing_is_lost_or_done_twice() -> Result<()> {
    short_run(Setup { rabbitmq: true, read_database: true }).await
}
