//! `ops audit`.

use std::process::ExitCode;

use clap::Args;
use messaging::TransportConfig;

use super::format::{Cell, Line, Page, Tone, table};
use super::{Common, progress};
use crate::audit::{Checked, Report, Scope, Sources, Status, Verdict};

#[derive(Debug, Args)]
pub struct Audit {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    sources: Sources,
    /// Also requires an empty backlog: nothing pending, ready, running or in doubt.
    #[arg(long)]
    drained: bool,
    /// Checks only the chain of the audit and its seals.
    #[arg(long, conflicts_with = "drained")]
    chain: bool,
}

impl Audit {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, transport, sources, drained, chain } = self;
        let scope = Scope { sources, drained, broker: transport.rabbitmq_url.is_some() };
        let pool = common.connect().await?;
        let report = progress::audit(&pool, &scope, chain).await?;
        common.print(&report, show)?;
        Ok(ExitCode::from(match report.verdict {
            Verdict::Holds => 0,
            Verdict::Violated => 1,
            Verdict::Incomplete => 2,
        }))
    }
}

fn show(report: &Report) -> Page {
    let status = |rule: &Checked| match rule.status {
        Status::Holds => Cell::state("ok"),
        Status::NotChecked => Cell::maybe(Some("not checked".to_owned()), Tone::Doubtful),
        Status::Violated => Cell::maybe(Some(format!("{} violation(s)", rule.violations)), Tone::Bad),
    };
    let rows =
        report.rules.iter().map(|rule| [rule.rule.to_string().into(), rule.title.to_owned().into(), status(rule)]);
    let mut lines = Vec::new();
    for rule in &report.rules {
        let number = format!("{:>3}  ", rule.rule);
        let line = |text: &str| Line::after(&number, None).text(text, None);
        lines.extend(rule.examples.iter().map(|example| line(example)));
        let more = rule.violations.saturating_sub(rule.examples.len() as u64);
        if more > 0 {
            lines.push(line(&format!("and {more} more")));
        }
        lines.extend(rule.not_checked.iter().map(|what| line(&format!("not checked: {what}"))));
    }
    Page::from(table(["", "what must hold", ""], rows)).with(lines)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::format::check;
    use super::*;

    #[test]
    fn a_report_lists_the_rules_and_then_the_violations() {
        let rule = |rule, title, status, violations, examples: &[&str], not_checked: &[&str]| Checked {
            rule,
            title,
            status,
            violations,
            examples: examples.iter().map(ToString::to_string).collect(),
            not_checked: not_checked.iter().map(ToString::to_string).collect(),
        };
        let report = Report {
            at: DateTime::UNIX_EPOCH,
            since: Some("20261121".to_owned()),
            drained: false,
            verdict: Verdict::Violated,
            rules: vec![
                rule(1, "each transition has one audit row and one event", Status::Holds, 0, &[], &[]),
                rule(
                    3,
                    "each event is published",
                    Status::Violated,
                    3,
                    &["the event 1 is parked without a reason"],
                    &[],
                ),
                rule(10, "the backlog is zero", Status::NotChecked, 0, &[], &["the backlog (--drained)"]),
            ],
        };
        check("audit", &show(&report));
        insta::assert_json_snapshot!("audit_json", report);
    }
}
