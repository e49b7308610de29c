//! `ops bulk retry | discard | replay | list | show | cancel`.

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use contracts::Queue;
use runtime::{Clock, Ids};
use sqlx::PgPool;
use uuid::Uuid;

use super::format::{Cell, Page, Table, table};
use super::write::{Actor, Justified, rate};
use super::{Common, progress};
use crate::OperationError;
use crate::format::{before, short};
use crate::read::bulk::{self, BulkAct};
use crate::read::outcome;
use crate::values;
use crate::write::bulk::{BulkPreview, BulkWork, Effort, Stepped, cancel, preview, start, step};
use crate::write::dead::DeadFilter;
use crate::write::replay::Selection;

/// How long to wait for batches that another process does.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Gives all dead jobs that match all their attempts back
    Retry(OfJobs),
    /// Ends all dead jobs that match without their effect
    Discard(OfJobs),
    /// Sends all events that match again
    Replay(OfEvents),
    /// Lists acts, newest first
    List(List),
    /// Shows how far an act is
    Show(Show),
    /// Ends an act before its next batch
    Cancel(Cancel),
}

/// How an act is carried out.
#[derive(Debug, Args)]
struct How {
    #[command(flatten)]
    common: Common,
    /// Only shows how many match, and some of them.
    #[arg(long)]
    dry_run: bool,
    /// Most per second. Unset: as fast as it goes.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<NonZeroU32>,
    /// Does not wait: a process `ops` does the batches.
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    actor: Actor,
    /// Why, for the record.
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct OfJobs {
    /// Only jobs of this queue.
    #[arg(long, value_parser = values::queue())]
    queue: Option<Queue>,
    /// Only jobs for events of this type, as order.shipped.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only jobs whose last error contains this, in upper or lower case.
    #[arg(long)]
    error: Option<String>,
    /// Only jobs that came within this time, as 2h.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub struct OfEvents {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=1_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    common: Common,
    /// Id of the act.
    id: Uuid,
}

#[derive(Debug, Args)]
pub struct Cancel {
    #[command(flatten)]
    common: Common,
    /// Id of the act.
    id: Uuid,
    #[command(flatten)]
    justified: Justified,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Retry(jobs) => jobs.run(BulkWork::Retry).await,
            Self::Discard(jobs) => jobs.run(BulkWork::Discard).await,
            Self::Replay(events) => events.how.run(BulkWork::Replay(events.selection)).await,
            Self::List(list) => {
                let acts = bulk::list(&list.common.connect().await?, list.limit).await?;
                list.common.print(&acts, |acts| match acts.data.as_slice() {
                    [] => Page::from("no bulk acts".to_owned()),
                    acts => acts_table(acts).into(),
                })
            }
            Self::Show(show) => {
                let act = bulk::get(&show.common.connect().await?, show.id).await?;
                show.common.print(&act.ok_or(OperationError::BulkActNotFound(show.id))?, how_far)
            }
            Self::Cancel(Cancel { common, id, justified }) => {
                let operator = justified.operator()?;
                common.print(&cancel(&common.connect().await?, id, operator).await?, how_far)
            }
        }
    }
}

impl OfJobs {
    async fn run(self, work: impl FnOnce(DeadFilter) -> BulkWork) -> anyhow::Result<ExitCode> {
        let Self { queue, event_type, error, since, how } = self;
        let since = since.map(|span| before(Clock::system().now(), span).context("--since is too long ago"));
        let since = since.transpose()?;
        how.run(work(DeadFilter { queue, event_type, error, since, died_until: None })).await
    }
}

impl How {
    async fn run(self, work: BulkWork) -> anyhow::Result<ExitCode> {
        let Self { common, dry_run, rate, detach, actor, reason } = self;
        let pool = common.connect().await?;
        if dry_run {
            return common.print(&preview(&pool, &work, Effort::Thorough).await?, preview_table);
        }
        let operator = actor.operator(&reason.unwrap_or_default())?;
        let act = start(&pool, &Ids::system(), work, rate, &operator).await?;
        let act = if detach { act } else { carried_out(&pool, act).await? };
        common.print(&act, how_far)
    }
}

/// Does the batches until the act has ended. Stopped in between, the act goes on where a process `ops` runs.
async fn carried_out(pool: &PgPool, act: BulkAct) -> anyhow::Result<BulkAct> {
    let mut act = act;
    let bar = progress::bar(act.matched.unsigned_abs(), outcome::done(&act.act))?;
    bar.set_message("; Ctrl-C leaves it to the process ops");
    while act.status == "RUNNING" {
        if let Stepped::Idle(wait) = step(pool).await? {
            tokio::time::sleep(wait.min(LOOK_EVERY)).await;
        }
        act = bulk::get(pool, act.id).await?.ok_or(OperationError::BulkActNotFound(act.id))?;
        bar.set_position(act.acted.unsigned_abs());
    }
    bar.finish_and_clear();
    Ok(act)
}

fn how_far(act: &BulkAct) -> String {
    let more = if act.is_counted { "" } else { "more than " };
    let waits = act.waits_for.as_deref().map(|why| format!(": {}", short(why))).unwrap_or_default();
    let (status, act_name) = (act.status.to_lowercase(), act.act.to_lowercase());
    format!("{act_name} {}: {status}, {} of {more}{}{waits}", act.id, act.acted, act.matched)
}

fn acts_table(acts: &[BulkAct]) -> Table {
    let header = ["act", "id", "began", "status", "done", "of", "by", "why"];
    let rows = acts.iter().map(|act| {
        [
            Cell::from(act.act.to_lowercase()),
            Cell::from(act.id.to_string()),
            Cell::from(act.created_at.format("%Y-%m-%d %H:%M:%S").to_string()),
            Cell::state(act.status.to_lowercase()),
            Cell::from(act.acted.to_string()),
            Cell::from(format!("{}{}", if act.is_counted { "" } else { ">" }, act.matched)),
            Cell::from(act.actor.clone()),
            Cell::from(short(&act.reason)),
        ]
    });
    table(header, rows)
}

fn preview_table(found: &BulkPreview) -> Page {
    let groups = found.groups.iter();
    let groups = groups.map(|group| [group.of.clone(), group.event_type.clone(), group.number.to_string()]);
    let more = if found.is_counted { "" } else { "more than " };
    let sample = found.sample.iter().map(|one| {
        let error = short(one.last_error.as_deref().unwrap_or("-"));
        [one.event_id.to_string(), one.of.clone(), one.event_type.clone(), error]
    });
    Page::from(table(["queue or state", "type", "number"], groups))
        .with(table(["some of them", "queue or state", "type", "error"], sample))
        .with(format!(" all that match: {more}{}", found.matched))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::format::check;
    use super::*;
    use crate::write::bulk::{BulkGroup, Sampled};

    #[test]
    fn a_dry_run_shows_what_would_be_done() {
        let groups =
            vec![BulkGroup { of: "refunds".to_owned(), event_type: "return.completed".to_owned(), number: 12 }];
        let sample = vec![Sampled {
            event_id: Uuid::from_u128(7),
            of: "refunds".to_owned(),
            event_type: "return.completed".to_owned(),
            last_error: Some("gateway: 503".to_owned()),
        }];
        let at = "2026-11-21T10:00:00Z".parse().expect("a time");
        let found = BulkPreview { at, matched: 12, is_counted: true, groups, sample };
        check("bulk_preview", &preview_table(&found));
    }

    #[test]
    fn an_act_says_how_far_it_is() {
        let at = "2026-11-21T10:00:00Z".parse().expect("a time");
        let act = BulkAct {
            id: Uuid::from_u128(7),
            act: "RETRY".to_owned(),
            selection: json!({ "queue": "refunds" }),
            matched: 1_200,
            is_counted: false,
            per_second: None,
            status: "RUNNING".to_owned(),
            acted: 500,
            waits_for: Some("the database is away".to_owned()),
            actor: "anita".to_owned(),
            source: "CLI".to_owned(),
            reason: "the gateway is back".to_owned(),
            request_id: None,
            created_at: at,
            finished_at: None,
        };
        assert_eq!(
            how_far(&act),
            "retry 00000000-0000-0000-0000-000000000007: running, 500 of more than 1200: the database is away"
        );
        check("bulk_acts", &acts_table(&[act]).into());
    }
}
