//! The demo, as a new user runs it.

use anyhow::Result;
use tests::programs;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_plays_its_orders_and_everything_agrees() -> Result<()> {
    let programs = tokio::task::spawn_blocking(programs::folder).await?;
    let data = tests::services::folder("data")?;
    let mut demo = Command::new(programs.join("standalone"));
    demo.args(["demo", "examples/orders.json"]).current_dir(programs::root()).kill_on_drop(true);
    demo.env_clear().envs(programs::environment());
    demo.env("DATA_DIR", data);
    let output = demo.output().await?;
    let (printed, complaints) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{complaints}");
    for heading in ["Orders and returns by state", "Events published", "Invoices and credit notes", "Refunds", "Checks"]
    {
        assert!(printed.contains(heading), "no {heading}: {printed}");
    }
    assert_eq!((printed.matches("  ✓ ").count(), printed.matches("  ✗ ").count()), (3, 0), "{printed}");
    Ok(())
}
