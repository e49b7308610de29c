//! A short run of the fault harness on each transport; `make faults` plays long ones.

use std::time::Duration;

use anyhow::Result;
use tests::faults::{self, Plan, Setup};

/// A fixed seed, so that every test run tests the same. `make faults` uses random ones.
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
    // No assertion about times: other tests run beside this one.
    assert!(report.violations().is_empty(), "{report}Logs and files are in {}", report.logs().display());
    assert!(report.kills() >= plan.kills, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_on_the_postgres_queue_lose_no_event_and_repeat_no_effect() -> Result<()> {
    short_run(Setup { rabbitmq: false, read_database: false }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_on_rabbitmq_lose_no_event_and_repeat_no_effect() -> Result<()> {
    short_run(Setup { rabbitmq: true, read_database: true }).await
}
