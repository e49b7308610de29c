//! The memory of each process when it is ready and idle. The browser of the workers is not included.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Plan;
use crate::report::{Figure, Row};
use crate::system::{Database, System, bound_to_us};
use crate::{load, requests};

/// Each process and the setting of its port.
const PROCESSES: [(&str, &str); 6] = [
    ("command", "COMMAND_PORT"),
    ("outbox-relay", "RELAY_PORT"),
    ("workers", "WORKERS_PORT"),
    ("query", "QUERY_PORT"),
    ("ops", "OPS_PORT"),
    ("payment-gateway", "GATEWAY_PORT"),
];
/// The only variables of our environment that a process gets, so that it runs with its default settings.
const ENVIRONMENT: [&str; 4] = ["PATH", "HOME", "LANG", "CHROMIUM_PATH"];
const SET_BY_CARGO_RUN: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];
const READY: Duration = Duration::from_secs(60);
const EXIT: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(6);
const AIM_MIB: f64 = 30.0;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let programs = programs().await?;
    let database = system.database("ours").await?;
    let mut running = Vec::new();
    for ((name, port), program) in PROCESSES.iter().zip(&programs) {
        running.push((*name, start(system, &database, program, port)?));
    }
    for (name, process) in &running {
        process.wait_until_ready().await.with_context(|| format!("{name} does not become ready"))?;
    }
    tokio::time::sleep(if plan.quick { IDLE / 6 } else { IDLE }).await;

    let (mut figures, mut details) = (Vec::new(), serde_json::Map::new());
    for (name, process) in &running {
        let (resident, own) = process.memory()?;
        figures.push(Figure::new(name, resident).at_most(AIM_MIB));
        details.insert((*name).to_owned(), json!({ "resident_mib": resident, "anonymous_mib": own }));
    }
    for (name, process) in running {
        process.stop().await.with_context(|| format!("{name} does not stop"))?;
    }
    system.drop(database).await?;
    let what = "resident memory of idle processes".to_owned();
    Ok(vec![Row::figures(what, "MiB", figures, details.into())])
}

/// Builds the programs beside this one from the same sources.
async fn programs() -> Result<Vec<PathBuf>> {
    let folder = std::env::current_exe()?.parent().context("a program is in a folder")?.to_owned();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build");
    // `cargo run` sets variables that name our package. Build scripts that read them (ring's does) would run again, and half
    // of the tree would be recompiled, now and at the next build.
    for (name, _) in std::env::vars_os() {
        if SET_BY_CARGO_RUN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    for (name, _) in PROCESSES {
        cargo.args(["--bin", name]);
    }
    // Does nothing when they are up to date.
    ensure!(cargo.status().await?.success(), "the processes cannot be built");
    Ok(PROCESSES.iter().map(|(name, _)| folder.join(name)).collect())
}

struct Process {
    child: Child,
    pid: u32,
    address: SocketAddr,
}

fn start(system: &System, database: &Database, program: &Path, port_setting: &str) -> Result<Process> {
    let port = embedded::free_port()?;
    let mut command = bound_to_us(program);
    command
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("DATABASE_URL", &database.url)
        .env("INVOICE_STORE_URL", system.folder("invoices"))
        .env(port_setting, port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let pid = child.id().context("a running process has an id")?;
    Ok(Process { child, pid, address: (Ipv4Addr::LOCALHOST, port).into() })
}

impl Process {
    async fn wait_until_ready(&self) -> Result<()> {
        let until = Instant::now() + READY;
        let request = requests::get("/health/ready");
        loop {
            match load::ask(self.address, &request, 200).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The resident memory and its anonymous part, in MiB.
    fn memory(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib: f64 = line.and_then(|line| line.trim().strip_suffix(" kB")).context("not in /proc")?.parse()?;
            Ok(kib / 1_024.0)
        };
        Ok((field("VmRSS:")?, field("RssAnon:")?))
    }

    async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGTERM)?;
        let status = timeout(EXIT, self.child.wait()).await.context("it keeps running")??;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}
