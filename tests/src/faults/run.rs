//! A run from its first process to its verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::book::Book;
use super::fleet::Fleet;
use super::hooks::Hooks;
use super::load::Load;
use super::stage::{self, Stage};
use super::tally::{Report, Tally};
use super::{Plan, chance, database, trouble, verdict};
use crate::programs;

/// Plays a run. After a failure it keeps logs and files in the folder that the error or the report names.
///
/// # Errors
/// When the harness itself failed, or the queues did not drain.
pub async fn run(plan: &Plan) -> Result<Report> {
    let started = Instant::now();
    let (tally, book) = (Arc::new(Tally::default()), Arc::new(Book::default()));
    let programs = tokio::task::spawn_blocking(programs::folder).await?;
    let mut stage = Stage::set(plan, programs).await?;
    let folder = stage.folder.clone();
    let played = play(plan, programs, &mut stage, &book, &tally).await;
    for (kind, times) in stage.incidents() {
        tally.did_often(&format!("connections {kind}"), times);
    }
    if let Err(error) = &played {
        tally.violated(format!("{error:#}"));
    }
    stage.strike().await;
    let known = book.known();
    let report = Report {
        plan: plan.clone(),
        took: started.elapsed(),
        orders: known.orders.len(),
        returns: known.returns.len(),
        completed_returns: usize::try_from(book.completed_returns())?,
        refunds: played.unwrap_or_default(),
        counts: tally.counts(),
        logs: folder,
    };
    if report.violations().is_empty() && report.late().is_empty() {
        stage::clear(&report.logs)?;
    }
    Ok(report)
}

/// Returns the number of refunds in the gateway's ledger at the end.
async fn play(plan: &Plan, programs: &Path, stage: &mut Stage, book: &Arc<Book>, tally: &Arc<Tally>) -> Result<usize> {
    database::prepare(&stage.pool).await?;
    let hooks = Hooks::start(&stage.pool, plan).await?;
    let fleet = Fleet::start(stage, plan, programs, tally).await?;
    let load = Load::start(stage, plan, book, tally)?;
    let mut chance = chance(plan.seed, "trouble");
    let started = Instant::now();
    for round in 1.. {
        fleet.storm();
        trouble::storm(stage, plan, &mut chance, tally).await?;
        fleet.calm(stage).await?;
        trouble::measure_recoveries(stage, tally).await?;
        trouble::measure_stuck_row(stage, round, book, tally).await?;
        let (kills, returns, elapsed) = (tally.kills(), book.completed_returns(), started.elapsed());
        eprintln!("round {round}: {elapsed:.0?}, {kills} kills, {returns} completed returns");
        if elapsed >= plan.at_least && kills >= plan.kills && returns >= plan.returns {
            break;
        }
        if elapsed >= plan.at_most {
            tally.violated(format!("after {elapsed:.0?} only {kills} kills and {returns} completed returns"));
            break;
        }
    }
    load.stop().await?;
    stage.end_snapshot();
    let resting = Instant::now();
    verdict::drain(stage, tally).await?;
    tally.did_often("seconds until everything had drained", resting.elapsed().as_secs());
    hooks.check(&stage.pool, tally).await?;
    let ledger = verdict::check(stage, &book.known(), tally).await?;
    fleet.stop().await?;
    verdict::check_processes(stage, tally).await;
    Ok(ledger.len())
}
