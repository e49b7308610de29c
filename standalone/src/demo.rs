//! The demo: plays a file of orders against a running system, end to end, and checks the results.

mod script;
mod client;
mod play;
mod settle;
mod check;
mod report;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use sqlx::PgPool;

use client::Client;

pub use script::Script;

use crate::Running;

/// Plays the script and prints the results.
///
/// `pool` may read every schema; `invoices` is the folder of the invoice store.
///
/// # Errors
/// Something failed, or a check did; each failed check has been printed.
pub async fn play(script: &Script, running: &Running, pool: &PgPool, invoices: &Path) -> Result<()> {
    let started = Instant::now();
    let client = Client::new(&running.base_url, &running.gateway_url)?;

    println!("Playing {} orders", script.orders.len());
    let mut played = play::play(&client, script).await?;

    report::heading("Background work");
    let waited = settle::settle(pool).await?;
    println!("  done {:.1} s after the last command", waited.as_secs_f64());

    let mut problems = std::mem::take(&mut played.problems);
    let seen = check::check(&client, &played, invoices, &mut problems).await?;
    report::report(pool, &seen, &played.reads, invoices).await?;

    report::heading("Checks");
    for problem in &problems {
        println!("  ✗ {problem}");
    }
    if !problems.is_empty() {
        bail!("{} check(s) failed", problems.len());
    }
    println!("  ✓ every read model equals the last command's response, and its history leads there without a gap");
    println!("  ✓ every shipped order has an invoice, every completed return has a credit note, and no other has one");
    println!("  ✓ the payment gateway's ledger has exactly the refunds of the completed returns");
    println!("\n{} commands in {:.1} s.", played.commands, started.elapsed().as_secs_f64());
    Ok(())
}
