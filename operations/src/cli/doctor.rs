//! `ops doctor`.

use std::process::ExitCode;

use clap::Args;
use messaging::{RetentionConfig, TransportConfig};
use runtime::Clock;

use super::format::{Line, Page, Tone};
use super::{Common, UNUSABLE};
use crate::doctor::{self, Diagnosis, Severity, Surroundings};

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    transport: TransportConfig,
    #[command(flatten)]
    retention: RetentionConfig,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, transport, retention } = self;
        let surroundings = Surroundings { transport, retention, clock: Clock::system() };
        let diagnosis = match common.connect().await {
            Ok(pool) => doctor::diagnose(&pool, &surroundings).await?,
            Err(error) => {
                // The diagnosis says what cannot be used, and has a remedy of its own.
                let text = format!("{error:#}");
                let why = text.lines().next().unwrap_or_default();
                doctor::without_database(why.strip_prefix(UNUSABLE).unwrap_or(why), &surroundings).await
            }
        };
        common.print(&diagnosis, show)?;
        Ok(if diagnosis.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(diagnosis: &Diagnosis) -> Page {
    let mut lines = Vec::new();
    for finding in &diagnosis.findings {
        let (word, tone) = match finding.severity {
            Severity::Problem => ("PROBLEM", Tone::Bad),
            Severity::Warning => ("warning", Tone::Doubtful),
        };
        lines.push(Line::after(&format!("{word}  "), Some(tone)).text(&finding.cause, None));
        lines.push(Line::after("         → ", None).text(&finding.remedy, None));
    }
    if diagnosis.healthy {
        lines.push(Line::after("", None).text("no problems found", Some(Tone::Good)));
    }
    Page::default().with(lines)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::format::{Look, check};
    use super::*;
    use crate::doctor::Finding;

    #[test]
    fn a_diagnosis_names_each_cause_and_its_remedy() {
        let finding = |severity, code, cause: &str, remedy: &str| Finding {
            severity,
            code,
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
        };
        let diagnosis = Diagnosis {
            at: DateTime::UNIX_EPOCH,
            healthy: false,
            findings: vec![
                finding(Severity::Problem, "NO_RELAY", "no relay is alive", "start outbox-relay"),
                finding(Severity::Warning, "QUEUE_PAUSED", "anita paused the queue refunds", "ops resume refunds"),
            ],
        };
        check("doctor", &show(&diagnosis));
        insta::assert_json_snapshot!("doctor_json", diagnosis);
        let healthy = Diagnosis { healthy: true, findings: Vec::new(), ..diagnosis };
        assert_eq!(show(&healthy).lay_out(Look::PLAIN), "no problems found");
    }
}
