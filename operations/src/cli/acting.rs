//! `ops replay | skip | release | retry | pause | resume`.

use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use contracts::Queue;
use uuid::Uuid;

use super::Common;
use super::table::table;
use crate::jobs::{self, Dead};
use crate::replay::{self, Preview, Selection};
use crate::{Acted, Door, Operator, queues, release, skip};

/// Who.
#[derive(Debug, Args)]
struct Actor {
    /// Who does it, for the record. Unset: the user's name.
    #[arg(long, env = "OPERATOR")]
    actor: Option<String>,
}

/// Who, and why.
#[derive(Debug, Args)]
struct Acting {
    #[command(flatten)]
    actor: Actor,
    /// Why it is done, for the record.
    #[arg(long)]
    reason: String,
}

impl Actor {
    fn operator(self, reason: &str) -> anyhow::Result<Operator> {
        let user = || std::env::var("USER").ok();
        let actor = self.actor.or_else(user).context("who does it? Give --actor, or set OPERATOR")?;
        Ok(Operator::new(&actor, Door::Cli, reason, None)?)
    }
}

impl Acting {
    fn operator(self) -> anyhow::Result<Operator> {
        self.actor.operator(&self.reason)
    }
}

#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    selection: Selection,
    /// Shows what would be sent, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Events per second, at most. Unset: as fast as they go.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    actor: Actor,
    /// Why it is done, for the record.
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
}

/// `100` and `100/s` are the same.
fn rate(text: &str) -> Result<NonZeroU32, String> {
    text.trim_end_matches("/s")
        .parse()
        .map_err(|_| "a number of events per second is wanted, as 100 or 100/s".to_owned())
}

#[derive(Debug, Args)]
pub struct Skip {
    #[command(flatten)]
    common: Common,
    /// Id of the event.
    id: Uuid,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    common: Common,
    /// Id of the event.
    id: Uuid,
    /// Only its job in this queue.
    #[arg(long)]
    queue: Option<Queue>,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    common: Common,
    /// The dead jobs of this event; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<Uuid>,
    /// Only those of this queue.
    #[arg(long)]
    queue: Option<Queue>,
    /// All dead jobs.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, Args)]
pub struct Pause {
    #[command(flatten)]
    common: Common,
    #[arg(help = "invoices, credit_notes, refunds, notifications or projections")]
    queue: Queue,
    #[command(flatten)]
    acting: Acting,
}

#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    common: Common,
    #[arg(help = "invoices, credit_notes, refunds, notifications or projections")]
    queue: Queue,
    #[command(flatten)]
    acting: Acting,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, selection, dry_run, rate, actor, reason } = self;
        let pool = common.connect().await?;
        if dry_run {
            return common.print(&replay::preview(&pool, &selection).await?, show_preview);
        }
        let operator = actor.operator(&reason.unwrap_or_default())?;
        let acted = replay::replay(&pool, &selection, rate, &operator).await?;
        common.print(&acted, |acted| format!("events sent again: {}", acted.rows_changed))
    }
}

impl Skip {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.acting.operator()?;
        let acted = skip::skip(&self.common.connect().await?, self.id, operator).await?;
        self.common.print(&acted, |_| format!("the event {} is skipped", self.id))
    }
}

impl Release {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.acting.operator()?;
        let acted = release::release(&self.common.connect().await?, self.id, self.queue, operator).await?;
        self.common.print(&acted, |acted| format!("waits ended: {}", acted.rows_changed))
    }
}

impl Retry {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.acting.operator()?;
        let dead = Dead { event_ids: self.ids, queue: self.queue, all: self.all };
        let acted = jobs::retry(&self.common.connect().await?, &dead, &operator).await?;
        self.common.print(&acted, |acted| format!("jobs tried again: {}", acted.rows_changed))
    }
}

impl Pause {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.acting.operator()?;
        let acted = queues::pause(&self.common.connect().await?, self.queue, operator).await?;
        self.common.print(&acted, |acted| outcome(*acted, self.queue, "paused", "was paused before"))
    }
}

impl Resume {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.acting.operator()?;
        let acted = queues::resume(&self.common.connect().await?, self.queue, operator).await?;
        self.common.print(&acted, |acted| outcome(*acted, self.queue, "resumed", "was not paused"))
    }
}

fn outcome(acted: Acted, queue: Queue, now: &str, before: &str) -> String {
    if acted.rows_changed > 0 { format!("the queue {queue} is {now}") } else { format!("the queue {queue} {before}") }
}

fn show_preview(preview: &Preview) -> String {
    let header = ["type", "state", "events"];
    let groups = preview.groups.iter();
    let rows = groups.map(|group| [group.event_type.clone(), group.state.clone(), group.events.to_string()]);
    format!("{}\n events that would be sent again: {}", table(header, rows), preview.events)
}
