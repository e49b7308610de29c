//! A child process that cannot outlive its parent.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::kill;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

pub use nix::sys::signal::Signal;

/// A command whose process receives `signal` from the kernel when the thread that spawned it ends.
///
/// `setpriv` sets this up, because the system call would be unsafe code here. It must be the last step before the
/// program: the kernel clears the setting when a process changes its user.
pub fn bound_to_parent(signal: Signal, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal.as_str().trim_start_matches("SIG"), "--"]).arg(program);
    command.stdin(Stdio::null());
    // Ctrl-C in a terminal reaches the whole foreground group, but the services must live until this program has
    // drained.
    command.process_group(0);
    command
}

/// A running or ended child process, reaped by a thread of its own.
#[derive(Debug, Clone)]
pub struct Child {
    name: &'static str,
    pid: Pid,
    end: Arc<End>,
}

#[derive(Debug, Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    reaped: Condvar,
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Child {
    /// Spawns the child from a thread that then waits for it: the parent-death signal is bound to the spawning
    /// *thread*, and a caller's thread (a test, a runtime's worker) may end long before the process does.
    pub fn spawn(name: &'static str, mut command: Command) -> Result<Self> {
        let end = Arc::new(End::default());
        let (started, pid) = mpsc::sync_channel(1);
        let reaper = Arc::clone(&end);
        thread::Builder::new().name(format!("{name} keeper")).spawn(move || match command.spawn() {
            Ok(mut child) => {
                let pid = Pid::from_raw(child.id().cast_signed());
                let _ = started.send(Ok(pid));
                // First wait without reaping: while the lock is held, the process id still belongs to this child, so a
                // signal can never hit another process that got the same id.
                let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
                let mut status = reaper.lock();
                *status = child.wait().ok().or_else(|| Some(ExitStatus::default()));
                reaper.reaped.notify_all();
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        })?;
        let pid = pid
            .recv()
            .context("the keeper thread ended early")?
            .with_context(|| format!("cannot start {name}; setpriv (package util-linux) is needed for it"))?;
        Ok(Self { name, pid, end })
    }

    /// Its process id. After the child has ended, it may belong to another process.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Its exit status, once it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        *self.end.lock()
    }

    /// Signals the child if it still runs.
    pub fn signal(&self, signal: Signal) {
        let status = self.end.lock();
        if status.is_none() {
            let _ = kill(self.pid, signal);
        }
    }

    /// Waits for the child to end. False when it has not ended within `at_most`.
    pub fn wait(&self, at_most: Duration) -> bool {
        let (status, _) = self
            .end
            .reaped
            .wait_timeout_while(self.end.lock(), at_most, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        status.is_some()
    }

    /// Sends `signal`, and after `patience` SIGKILL.
    pub fn stop(&self, signal: Signal, patience: Duration) {
        self.signal(signal);
        if !self.wait(patience) {
            tracing::warn!(service = self.name, pid = self.pid(), "did not stop in time; killing it");
            self.signal(Signal::SIGKILL);
            self.wait(patience);
        }
    }

    /// Polls until `ready` returns true. It is an error when the child ends first, or the deadline passes.
    pub fn wait_until(&self, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exited() {
                bail!("{} ended during start-up ({status})", self.name);
            }
            if ready() {
                return Ok(());
            }
            if Instant::now() >= until {
                bail!("{} was not ready within {} s", self.name, deadline.as_secs());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
