//! `outbox-relay audit`.

use std::process::ExitCode;

use clap::Args;
use messaging::TransportConfig;

use super::Common;
use super::table::table;
use crate::operations::audit::{self, Checked, Report, Scope, Sources, Status, Verdict};

#[derive(Debug, Args)]
pub struct Audit {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    sources: Sources,
    /// Nothing may be pending, ready, running or in doubt.
    #[arg(long)]
    drained: bool,
}

impl Audit {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, transport, sources, drained } = self;
        let scope = Scope { sources, drained, broker: transport.rabbitmq_url.is_some() };
        let report = audit::audit(&common.connect().await?, &scope).await?;
        common.print(&report, show)?;
        Ok(ExitCode::from(match report.verdict {
            Verdict::Holds => 0,
            Verdict::Violated => 1,
            Verdict::Incomplete => 2,
        }))
    }
}

fn show(report: &Report) -> String {
    let status = |rule: &Checked| match rule.status {
        Status::Holds => "ok".to_owned(),
        Status::NotChecked => "not checked".to_owned(),
        Status::Violated => format!("{} violation(s)", rule.violations),
    };
    let rows = report.rules.iter().map(|rule| [rule.rule.to_string(), rule.title.to_owned(), status(rule)]);
    let mut text = table(["".to_owned(), "what must hold".to_owned(), "".to_owned()], rows);
    for rule in &report.rules {
        let details = rule.examples.iter().map(|example| format!("\n{:>3}  {example}", rule.rule));
        text.extend(details);
        let more = rule.violations.saturating_sub(rule.examples.len() as u64);
        if more > 0 {
            text += &format!("\n{:>3}  and {more} more", rule.rule);
        }
        text.extend(rule.not_checked.iter().map(|what| format!("\n{:>3}  not checked: {what}", rule.rule)));
    }
    text
}
