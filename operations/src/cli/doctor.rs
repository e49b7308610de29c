//! `ops doctor`.

use std::process::ExitCode;

use clap::Args;
use messaging::{RetentionConfig, TransportConfig};
use runtime::Clock;

use super::Common;
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
            Err(error) => doctor::without_database(&format!("{error:#}"), &surroundings).await,
        };
        common.print(&diagnosis, show)?;
        Ok(if diagnosis.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(diagnosis: &Diagnosis) -> String {
    let lines = diagnosis.findings.iter().map(|finding| {
        let word = match finding.severity {
            Severity::Problem => "PROBLEM",
            Severity::Warning => "warning",
        };
        format!("{word}  {}\n         → {}", finding.cause, finding.remedy)
    });
    let mut lines: Vec<_> = lines.collect();
    if diagnosis.healthy {
        lines.push("no problems found".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

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
        insta::assert_snapshot!("doctor", show(&diagnosis));
        insta::assert_json_snapshot!("doctor_json", diagnosis);
        let healthy = Diagnosis { healthy: true, findings: Vec::new(), ..diagnosis };
        assert_eq!(show(&healthy), "no problems found");
    }
}
