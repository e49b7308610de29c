//! `ops audit`.

use std::process::ExitCode;

use clap::Args;
use messaging::TransportConfig;

use super::Common;
use super::format::table;
use crate::audit::{self, Checked, Report, Scope, Sources, Status, Verdict};

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
        let report =
            if chain { audit::audit_chain(&pool, &scope.sources).await? } else { audit::audit(&pool, &scope).await? };
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
    let mut lines = vec![table(["", "what must hold", ""], rows), String::new()];
    for rule in &report.rules {
        let number = rule.rule;
        lines.extend(rule.examples.iter().map(|example| format!("{number:>3}  {example}")));
        let more = rule.violations.saturating_sub(rule.examples.len() as u64);
        if more > 0 {
            lines.push(format!("{number:>3}  and {more} more"));
        }
        lines.extend(rule.not_checked.iter().map(|what| format!("{number:>3}  not checked: {what}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

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
        insta::assert_snapshot!("audit", show(&report));
        insta::assert_json_snapshot!("audit_json", report);
    }
}
