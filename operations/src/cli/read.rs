//! `ops status | stuck | show | order | jobs | actions | schedules`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use contracts::Queue;
use uuid::Uuid;

use super::{Common, tables};
use crate::read::jobs::{self, Filter, JobStatus};
use crate::read::{actions, schedules, show, status, story, stuck};

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct Stuck {
    #[command(flatten)]
    common: Common,
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
    /// Id of an event, order, return, document or refund.
    id: Uuid,
}

#[derive(Debug, Args)]
pub struct Order {
    #[command(flatten)]
    common: Common,
    /// Order number, or number of an invoice or a credit note, or id of the order or of one of its returns, refunds, documents or events.
    of: String,
}

#[derive(Debug, Args)]
pub struct Jobs {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    queue: Option<Queue>,
    /// May be given several times; by default `dead` and `in_doubt`.
    #[arg(long = "status")]
    statuses: Vec<JobStatus>,
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
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = status::status(&self.common.connect().await?).await?;
        self.common.print(&report, tables::status)
    }
}

impl Stuck {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = stuck::stuck(&self.common.connect().await?, self.older_than, self.limit).await?;
        self.common.print(&report, tables::stuck)
    }
}

impl Show {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = show::show(&self.common.connect().await?, self.id).await?;
        self.common.print(&report, tables::shown)
    }
}

impl Order {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = story::tell(&self.common.connect().await?, &self.of).await?;
        self.common.print(&report, tables::story)
    }
}

impl Jobs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let filter = Filter { queue: self.queue, statuses: self.statuses, limit: self.limit, ..Filter::default() };
        let report = jobs::list(&self.common.connect().await?, &filter).await?;
        self.common.print(&report, |report| match report.jobs.as_slice() {
            [] => "no such jobs".to_owned(),
            jobs => tables::jobs(report.at, jobs),
        })
    }
}

impl Actions {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = actions::list(&self.common.connect().await?, self.limit).await?;
        self.common.print(&report, |report| match report.data.as_slice() {
            [] => "no operator actions".to_owned(),
            actions => tables::actions(actions),
        })
    }
}

impl Schedules {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let report = schedules::list(&self.common.connect().await?).await?;
        self.common.print(&report, |report| match report.schedules.as_slice() {
            [] => "no schedules".to_owned(),
            schedules => tables::schedules(report.at, schedules),
        })
    }
}
