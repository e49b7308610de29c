//! `ops status | stuck | show | order | jobs | actions | schedules`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use contracts::Queue;
use runtime::Clock;
use uuid::Uuid;

use super::format::Page;
use super::watch::{self, Watch};
use super::{Common, tables};
use crate::format::before;
use crate::read::jobs::{self, Filter, JobStatus};
use crate::read::{actions, schedules, show, status, story, stuck};
use crate::values;

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    watch: Watch,
}

#[derive(Debug, Args)]
pub struct Stuck {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    watch: Watch,
    /// Seconds after which a waiting event or job counts as stuck.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = runtime::config::seconds)]
    older_than: Duration,
    /// Most events, and most jobs, to list.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    watch: Watch,
    /// Id of an event, order, return, document or refund.
    id: Uuid,
}

#[derive(Debug, Args)]
pub struct Order {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    watch: Watch,
    /// Order number, or number of an invoice or a credit note, or id of the order or of one of its returns, refunds, documents or events.
    of: String,
}

#[derive(Debug, Args)]
pub struct Jobs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    watch: Watch,
    #[arg(long, value_parser = values::queue())]
    queue: Option<Queue>,
    /// May be given several times; by default `dead` and `in_doubt`.
    #[arg(long = "status")]
    statuses: Vec<JobStatus>,
    /// Only those of events of this type.
    #[arg(long = "type", value_name = "TYPE", value_parser = values::event_type(), hide_possible_values = true)]
    event_type: Option<String>,
    /// Only those whose last error contains this, in upper or lower case.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only those that came within this time, as 30min, 2h or 3days.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Actions {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

#[derive(Debug, Args)]
pub struct Schedules {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    watch: Watch,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        watch::read(&self.common, self.watch, async |pool| Ok(status::status(pool).await?), tables::status).await
    }
}

impl Stuck {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let read = async |pool: &_| Ok(stuck::stuck(pool, self.older_than, self.limit).await?);
        watch::read(&self.common, self.watch, read, tables::stuck).await
    }
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        watch::read(&self.common, self.watch, async |pool| Ok(show::show(pool, self.id).await?), tables::shown).await
    }
}

impl Order {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        watch::read(&self.common, self.watch, async |pool| Ok(story::tell(pool, &self.of).await?), tables::story).await
    }
}

impl Jobs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let read = async |pool: &_| Ok(jobs::list(pool, &self.filter()?).await?);
        let page = |report: &jobs::Jobs| match report.jobs.as_slice() {
            [] => Page::from("no such jobs".to_owned()),
            jobs => tables::jobs(report.at, jobs).into(),
        };
        watch::read(&self.common, self.watch, read, page).await
    }

    fn filter(&self) -> anyhow::Result<Filter> {
        let since = self.since.map(|time| before(Clock::system().now(), time).context("--since is too long ago"));
        Ok(Filter {
            queue: self.queue,
            statuses: self.statuses.clone(),
            limit: self.limit,
            event_type: self.event_type.clone(),
            error: self.error.clone(),
            since: since.transpose()?,
        })
    }
}

impl Actions {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = actions::list(&self.common.connect().await?, self.limit).await?;
        self.common.print(&report, |report| match report.data.as_slice() {
            [] => Page::from("no operator actions".to_owned()),
            actions => tables::actions(actions).into(),
        })
    }
}

impl Schedules {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let page = |report: &schedules::Schedules| match report.schedules.as_slice() {
            [] => Page::from("no schedules".to_owned()),
            schedules => tables::schedules(report.at, schedules).into(),
        };
        watch::read(&self.common, self.watch, async |pool| Ok(schedules::list(pool).await?), page).await
    }
}
