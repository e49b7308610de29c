//! The data folder of a cluster: created, checked, and freed from the server of a killed run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::child::bound_to_parent;
use crate::folder::{Folder, RunAs, run_command_as};

/// Creates the data folder under another name first, so that an interrupted `initdb` leaves no folder that looks complete.
pub(super) fn init(
    programs: &Path,
    folder: &Folder,
    data: &Path,
    superuser: &str,
    run_as: Option<RunAs>,
) -> Result<()> {
    let unfinished = folder.join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let mut command = bound_to_parent(Signal::SIGKILL, programs.join("initdb"));
    command
        .arg("--pgdata")
        .arg(&unfinished)
        .arg("--pwfile")
        .arg(folder.join("password"))
        .args(["--username", superuser, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"])
        .current_dir(folder.join("."));
    run_command_as(&mut command, run_as);
    let output = command.output().context("cannot run initdb")?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(fs::rename(unfinished, data)?)
}

/// Whether this Postgres, as this user, can run on the data.
pub(super) fn check_usable(data: &Path, version: u32, run_as: Option<RunAs>) -> Result<()> {
    let made_by = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
    if made_by.trim() != version.to_string() {
        bail!(
            "{} was made by Postgres {}, but version {version} is installed; `make reset` starts from scratch",
            data.display(),
            made_by.trim()
        );
    }
    let owner = fs::metadata(data)?.uid();
    let user = run_as.map_or_else(Uid::effective, |user| user.uid).as_raw();
    if owner != user {
        bail!(
            "{} belongs to user {owner}, but Postgres would run as user {user}; `make reset` starts from scratch",
            data.display()
        );
    }
    Ok(())
}

/// What the server reports, as `pg_ctl` reads it: line 1 of postmaster.pid is its process id, line 8 its state.
pub(super) fn is_ready(data: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

/// Stops the server of a killed run. This program holds the folder's lock, so no other program uses that server.
pub(super) fn stop_leftover(data: &Path, within: Duration) -> Result<()> {
    let Some(pid) = leftover(data) else { return Ok(()) };
    tracing::warn!(pid = pid.as_raw(), "stopping a Postgres that a killed run left behind");
    kill(pid, Signal::SIGINT)?;
    let until = Instant::now() + within;
    while leftover(data) == Some(pid) {
        if Instant::now() >= until {
            bail!("the Postgres that a killed run left on {} (process {pid}) does not stop", data.display());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The process in postmaster.pid, if it is alive and works in that folder: another process may have got its id.
fn leftover(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?);
    let works_there = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data);
    (works_there && kill(pid, None) != Err(Errno::ESRCH)).then_some(pid)
}
