//! `outbox-relay doctor`.

use std::process::ExitCode;

use clap::Args;
use messaging::TransportConfig;
use runtime::Clock;

use super::Common;
use crate::operations::doctor::{self, Diagnosis, Severity, Surroundings};

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    transport: TransportConfig,
    /// Days after which a settled day of outbox and inbox is dropped, as the relay has it.
    #[arg(long, env = "OUTBOX_RETENTION_DAYS", default_value_t = crate::RETENTION_DAYS)]
    outbox_retention_days: i32,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, transport, outbox_retention_days } = self;
        let surroundings = Surroundings { transport, retention_days: outbox_retention_days, clock: Clock::system() };
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
        lines.push("nothing is wrong".to_owned());
    }
    lines.join("\n")
}
