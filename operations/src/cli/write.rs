//! `ops replay | skip | release | retry | discard | pause | resume | run-schedule`.

use std::num::NonZeroU32;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use contracts::{Email, Queue};
use runtime::Clock;
use uuid::Uuid;

use super::format::{Page, table};
use super::{Common, progress};
use crate::values;
use crate::write::replay::{self, Preview, Selection};
use crate::write::retry::{self, DeadJobs};
use crate::write::{Changed, Operator, Source, discard, pause, release, schedule, skip};

/// Who acts.
#[derive(Debug, Args)]
pub(super) struct Actor {
    /// Who acts, for the record. Unset: the user's name.
    #[arg(long, env = "OPERATOR")]
    actor: Option<String>,
}

/// Who acts, and why.
#[derive(Debug, Args)]
pub(super) struct Justified {
    #[command(flatten)]
    actor: Actor,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
}

impl Actor {
    pub(super) fn operator(self, reason: &str) -> anyhow::Result<Operator> {
        let user = || std::env::var("USER").ok();
        let actor = self.actor.or_else(user).context("who acts is unknown: give --actor, or set OPERATOR")?;
        Ok(Operator::new(&actor, Source::Cli, reason, None)?)
    }
}

impl Justified {
    pub(super) fn operator(self) -> anyhow::Result<Operator> {
        self.actor.operator(&self.reason)
    }
}

#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    selection: Selection,
    /// Only shows what would be sent.
    #[arg(long)]
    dry_run: bool,
    /// Most events per second. Unset: no limit.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    actor: Actor,
    /// Why, for the record.
    #[arg(long, required_unless_present = "dry_run")]
    reason: Option<String>,
}

/// `100` and `100/s` mean the same.
pub(super) fn rate(text: &str) -> Result<NonZeroU32, String> {
    text.trim_end_matches("/s")
        .parse()
        .map_err(|_| "expected a number of events per second, as 100 or 100/s".to_owned())
}

#[derive(Debug, Args)]
pub struct Skip {
    #[command(flatten)]
    common: Common,
    /// Id of the event.
    id: Uuid,
    #[command(flatten)]
    justified: Justified,
}

/// The jobs of an event, or one of them.
#[derive(Debug, Args)]
struct JobsOfEvent {
    #[command(flatten)]
    common: Common,
    /// Id of the event.
    id: Uuid,
    /// Only its job in this queue.
    #[arg(long, value_parser = values::queue())]
    queue: Option<Queue>,
    #[command(flatten)]
    justified: Justified,
}

#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    jobs: JobsOfEvent,
}

#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    common: Common,
    /// Retries the dead jobs of this event; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<Uuid>,
    /// Only those of this queue.
    #[arg(long, value_parser = values::queue())]
    queue: Option<Queue>,
    /// Retries all dead jobs.
    #[arg(long)]
    all: bool,
    /// Sends the e-mail to this address instead; for one event, with --queue notifications.
    #[arg(long, value_name = "ADDRESS", value_parser = Email::parse)]
    email: Option<Email>,
    #[command(flatten)]
    justified: Justified,
}

#[derive(Debug, Args)]
pub struct Discard {
    #[command(flatten)]
    jobs: JobsOfEvent,
}

#[derive(Debug, Args)]
pub struct Pause {
    #[command(flatten)]
    common: Common,
    #[arg(value_parser = values::queue())]
    queue: Queue,
    #[command(flatten)]
    justified: Justified,
}

#[derive(Debug, Args)]
pub struct RunSchedule {
    #[command(flatten)]
    common: Common,
    /// As `ops schedules` lists it
    name: String,
    #[command(flatten)]
    justified: Justified,
}

#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    common: Common,
    #[arg(value_parser = values::queue())]
    queue: Queue,
    #[command(flatten)]
    justified: Justified,
}

impl Replay {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, selection, dry_run, rate, actor, reason } = self;
        let pool = common.connect().await?;
        if dry_run {
            return common.print(&replay::preview(&pool, &selection).await?, preview_table);
        }
        let operator = actor.operator(&reason.unwrap_or_default())?;
        progress::replay(&common, &pool, &selection, rate, &operator).await
    }
}

impl Skip {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.justified.operator()?;
        let changed = skip::skip(&self.common.connect().await?, self.id, operator).await?;
        let effect = "no job queue runs it; read models show it all the same";
        self.common.print(&changed, |_| format!("the event {} is skipped: {effect}", self.id))
    }
}

impl Release {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let JobsOfEvent { common, id, queue, justified } = self.jobs;
        let operator = justified.operator()?;
        let changed = release::release(&common.connect().await?, id, queue, operator).await?;
        common.print(&changed, |changed| format!("waits ended: {}", changed.rows_changed))
    }
}

impl Retry {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.justified.operator()?;
        let selection = DeadJobs { event_ids: self.ids, queue: self.queue, all: self.all, customer_email: self.email };
        let changed = retry::retry(&self.common.connect().await?, &selection, &operator).await?;
        self.common.print(&changed, |changed| format!("jobs retried: {}", changed.rows_changed))
    }
}

impl Discard {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let JobsOfEvent { common, id, queue, justified } = self.jobs;
        let operator = justified.operator()?;
        let changed = discard::discard(&common.connect().await?, id, queue, operator).await?;
        common.print(&changed, |changed| format!("jobs discarded: {}", changed.rows_changed))
    }
}

impl Pause {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.justified.operator()?;
        let changed = pause::pause(&self.common.connect().await?, self.queue, operator).await?;
        self.common.print(&changed, |changed| outcome(*changed, self.queue, "paused", "was already paused"))
    }
}

impl Resume {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.justified.operator()?;
        let changed = pause::resume(&self.common.connect().await?, self.queue, operator).await?;
        self.common.print(&changed, |changed| outcome(*changed, self.queue, "resumed", "was not paused"))
    }
}

impl RunSchedule {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.justified.operator()?;
        let asked = schedule::run_now(&self.common.connect().await?, self.name, &Clock::system(), operator).await?;
        self.common.print(&asked, |asked| format!("{} is due now: ops schedules says what came of it", asked.schedule))
    }
}

fn outcome(changed: Changed, queue: Queue, now: &str, before: &str) -> String {
    if changed.rows_changed > 0 { format!("the queue {queue} is {now}") } else { format!("the queue {queue} {before}") }
}

fn preview_table(preview: &Preview) -> Page {
    let header = ["type", "state", "events"];
    let groups = preview.groups.iter();
    let rows = groups.map(|group| [group.event_type.clone(), group.state.clone(), group.events.to_string()]);
    Page::from(table(header, rows)).then(format!(" events that would be replayed: {}", preview.events))
}

#[cfg(test)]
mod tests {
    use super::super::format::check;
    use super::*;
    use crate::write::replay::Group;

    #[test]
    fn a_dry_run_shows_what_would_be_replayed() {
        let group = |event_type: &str, state: &str, events| Group {
            event_type: event_type.to_owned(),
            state: state.to_owned(),
            events,
        };
        let groups = vec![group("order.paid", "PUBLISHED", 12), group("order.shipped", "UNROUTABLE", 1)];
        check("replay_preview", &preview_table(&Preview { events: 13, groups }));
    }

    #[test]
    fn a_rate_may_have_its_unit() {
        assert_eq!(rate("100"), rate("100/s"));
        for wrong in ["0", "-1", "fast", ""] {
            assert!(rate(wrong).is_err(), "{wrong:?}");
        }
    }
}
