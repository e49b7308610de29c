//! How far a long act is, on stderr while that is a terminal.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use runtime::shutdown;
use sqlx::PgPool;

use super::Common;
use crate::audit::{self, Report, Scope};
use crate::write::replay::{self, Selection};
use crate::write::{Changed, Operator};

/// What a shell shows for a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;
const TURN_EVERY: Duration = Duration::from_millis(120);

/// Replays events, and says how many are replayed. Ctrl-C ends it between two batches.
pub(super) async fn replay(
    common: &Common,
    pool: &PgPool,
    selection: &Selection,
    rate: Option<NonZeroU32>,
    operator: &Operator,
) -> anyhow::Result<ExitCode> {
    let bar = if is_shown() {
        bar(replay::preview(pool, selection).await?.events, "events replayed")?
    } else {
        ProgressBar::hidden()
    };
    let stopped = shutdown::on_signal();
    let replayed = replay::replay_while(pool, selection, rate, operator, |replayed| {
        bar.set_position(replayed);
        if stopped.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let replayed = replayed.await;
    bar.finish_and_clear();
    let (changed, complete) = replayed?;
    let said = if complete { "events replayed" } else { "interrupted; events replayed until then" };
    let done = common.print(&changed, |Changed { rows_changed }| format!("{said}: {rows_changed}"))?;
    Ok(if complete { done } else { ExitCode::from(INTERRUPTED) })
}

/// How many of so many are `done`, as `retried`. Hidden where stderr is no terminal.
pub(super) fn bar(number: u64, done: &str) -> anyhow::Result<ProgressBar> {
    if !is_shown() {
        return Ok(ProgressBar::hidden());
    }
    let style = format!("{{bar:30}} {{human_pos}} of {{human_len}} {done}, {{per_sec:.0}}, {{eta}} left{{msg}}");
    Ok(ProgressBar::new(number).with_style(ProgressStyle::with_template(&style)?))
}

/// Audits, and says what is checked at the moment.
pub(super) async fn audit(pool: &PgPool, scope: &Scope, chain: bool) -> anyhow::Result<Report> {
    if !is_shown() {
        return Ok(if chain {
            audit::audit_chain(pool, &scope.sources).await?
        } else {
            audit::audit(pool, scope).await?
        });
    }
    let style = ProgressStyle::with_template("{spinner} audit, {elapsed}: {msg}")?;
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(TURN_EVERY);
    let report = if chain {
        bar.set_message("the chain and its seals");
        audit::audit_chain(pool, &scope.sources).await
    } else {
        audit::audit_and_tell(pool, scope, |checked| bar.set_message(checked)).await
    };
    bar.finish_and_clear();
    Ok(report?)
}

fn is_shown() -> bool {
    io::stderr().is_terminal()
}
