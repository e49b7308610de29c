//! The limit of the database: `pgbench`, which is part of Postgres.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::Plan;

/// Seconds. The time starts with the program, before it opens its connections.
const SHORTEST: u64 = 2;

/// `pgbench` on one database with one script.
#[derive(Debug)]
pub(crate) struct Pgbench {
    program: PathBuf,
    url: String,
    script: &'static str,
    clients: u32,
    definitions: Vec<String>,
    /// Transactions of all runs so far.
    processed: AtomicU64,
}

impl Pgbench {
    pub(crate) fn new(program: PathBuf, url: String, script: &'static str, clients: u32) -> Self {
        let definitions = vec![format!("clients={clients}")];
        Self { program, url, script, clients, definitions, processed: AtomicU64::new(0) }
    }

    /// Sets a variable of the script. It already has `clients`, `base` (transactions before this run) and `i` (0).
    pub(crate) fn define(mut self, name: &str, value: impl Display) -> Self {
        self.definitions.push(format!("{name}={value}"));
        self
    }

    pub(crate) fn processed(&self) -> u64 {
        self.processed.load(Ordering::Relaxed)
    }

    /// Transactions per second, after a warm-up.
    pub(crate) async fn run(&self, plan: &Plan) -> Result<f64> {
        self.once(plan.warm_up).await?;
        // "tps = 2512.3 (without initial connection time)"
        number(&self.once(plan.measure).await?, "tps = ")
    }

    async fn once(&self, duration: Duration) -> Result<String> {
        let file = tempfile::Builder::new().suffix(".sql").tempfile()?;
        std::fs::write(file.path(), self.script)?;
        let mut command = Command::new(&self.program);
        command
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
            .arg(format!("--client={}", self.clients))
            .arg(format!("--time={}", duration.as_secs().max(SHORTEST)))
            .arg("--file")
            .arg(file.path())
            .args(["-D", "i=0", "-D", &format!("base={}", self.processed())]);
        for definition in &self.definitions {
            command.args(["-D", definition]);
        }
        // The environment hides the password from other users of the machine.
        command.env("PGDATABASE", &self.url).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("cannot run {}", self.program.display()))?;
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("pgbench failed: {said}{complained}");
        }
        // "number of failed transactions: 0 (0.000%)"
        let failed: u64 = number(&said, "number of failed transactions: ")?;
        ensure!(failed == 0, "pgbench had {failed} failed transactions: {complained}");
        let processed: u64 = number(&said, "number of transactions actually processed: ")?;
        self.processed.fetch_add(processed, Ordering::Relaxed);
        Ok(said.into_owned())
    }
}

/// The number after `label`.
fn number<T: std::str::FromStr>(text: &str, label: &str) -> Result<T> {
    text.lines()
        .find_map(|line| line.strip_prefix(label)?.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no {label:?} in the output of pgbench: {text}"))
}
