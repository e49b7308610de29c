//! The main job, end to end: plays a file of orders against a running system and checks that everything agrees.

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

/// Plays the script and prints what became of it.
///
/// `pool` may read every schema; `invoices` is the folder of the invoice store.
///
/// # Errors
/// When anything fails or disagrees; every disagreement has been printed then.
pub async fn play(script: &Script, running: &Running, pool: &PgPool, invoices: &Path) -> Result<()> {
    let started = Instant::now();
    let client = Client::new(&running.base_url, &running.gateway_url)?;

    println!("Playing {} orders", script.orders.len());
    let mut played = play::play(&client, script).await?;

    report::heading("What the commands set off");
    let waited = settle::settle(pool).await?;
    println!("  all done {:.1} s after the last command", waited.as_secs_f64());

    let mut problems = std::mem::take(&mut played.problems);
    let seen = check::check(&client, &played, invoices, &mut problems).await?;
    report::report(pool, &seen, &played.reads, invoices).await?;

    report::heading("Does everything agree?");
    for problem in &problems {
        println!("  ✗ {problem}");
    }
    if !problems.is_empty() {
        bail!("{} thing(s) do not agree", problems.len());
    }
    println!("  ✓ every read model is what its last command answered, and its history leads there without a gap");
    println!(
        "  ✓ every shipped order has its invoice, every completed return its credit note, and nothing else has one"
    );
    println!("  ✓ the gateway's ledger holds exactly the refunds of the completed returns");
    println!("\n{} commands in {:.1} s.", played.commands, started.elapsed().as_secs_f64());
    Ok(())
}
