//! The Chromium process: finds the executable, starts it with its own profile, and leaves nothing behind at the end.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::PdfError;
use super::connection::{self, Answers, Connection};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const PROFILE_PREFIX: &str = "articurated-chromium-";
const LOG: &str = "chromium.log";
/// How many of the last lines of its log explain why a browser did not start.
const LAST_LINES: usize = 8;
pub(super) const START_DEADLINE: Duration = Duration::from_secs(30);
/// A browser that takes longer to exit is killed.
const EXIT_DEADLINE: Duration = Duration::from_secs(3);

/// A browser reads its debugging pipe on descriptor 3, writes on 4, and exits when the pipe closes. The kernel closes
/// our side of it however our process ends, `kill -9` included, so there are no orphans.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// The flags of every browser that we start. The bench starts the browser it compares with the same flags.
pub const FLAGS: [&str; 17] = [
    "--headless",
    "--no-startup-window",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-breakpad",
    "--password-store=basic",
    "--use-mock-keychain",
    // Hinting moves glyphs to screen pixels, which a printer does not have.
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    // The second wall: a request that a tab lets through finds no host, not even by address.
    "--host-resolver-rules=MAP * ~NOTFOUND",
];

/// The only variables of our environment that a browser gets: others contain passwords.
const ENVIRONMENT: [&str; 6] = ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "FONTCONFIG_FILE", "FONTCONFIG_PATH"];

/// The executable: the configured one, or the first of the known names on the PATH.
pub fn find(configured: Option<&Path>) -> Result<PathBuf, PdfError> {
    if let Some(path) = configured {
        let found = path.is_file().then(|| path.to_owned());
        return found.ok_or_else(|| PdfError::ChromiumMissing(path.display().to_string()));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = NAMES
        .iter()
        .find_map(|name| std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file()));
    found.ok_or_else(|| PdfError::ChromiumMissing(format!("PATH (looked for {})", NAMES.join(", "))))
}

/// A browser that was started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    profile: Profile,
}

impl Process {
    pub(super) fn start(executable: &Path) -> io::Result<(Self, Connection, Answers)> {
        sweep(&std::env::temp_dir());
        let profile = Profile::create()?;
        let mut child = command(executable, &profile)?.spawn()?;
        let (input, output) = (child.stdin.take().expect("is piped"), child.stdout.take().expect("is piped"));
        let (connection, answers) = connection::over(input, output);
        tracing::info!(chromium.pid = child.id(), "started a browser");
        Ok((Self { child, profile }, connection, answers))
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    #[cfg(test)]
    pub(super) fn profile(&self) -> &Path {
        &self.profile.folder
    }

    /// Runs until the browser has ended: delivers its answers until it closes the pipe, or until it is `closing` and
    /// overdue. Then removes its processes and files. Returns the last lines of its log.
    pub(super) async fn run(mut self, answers: Answers, closing: CancellationToken) -> String {
        let overdue = async {
            closing.cancelled().await;
            tokio::time::sleep(EXIT_DEADLINE).await;
        };
        let group = self.child.id().map(|id| Pid::from_raw(id.cast_signed()));
        tokio::select! { () = answers.deliver() => {}, () = overdue => {} }
        let folder = self.profile.unlock();
        let log = folder.join(LOG);
        if tokio::time::timeout(EXIT_DEADLINE, unused(log.clone())).await.is_err() {
            tracing::warn!(chromium.pid = group.map(Pid::as_raw), "a browser did not exit in time and is killed");
            // An error means that no process of the group is left.
            let _ = group.map(|group| killpg(group, Signal::SIGKILL));
            let _ = tokio::time::timeout(EXIT_DEADLINE, unused(log.clone())).await;
        }
        let exit = self.child.wait().await;
        tracing::debug!(?exit, "a browser exited");
        let last_words = last_lines(&fs::read(&log).unwrap_or_default());
        remove(&folder);
        last_words
    }
}

fn command(executable: &Path, profile: &Profile) -> io::Result<Command> {
    let folder = &profile.folder;
    let mut user_data_dir = OsString::from("--user-data-dir=");
    user_data_dir.push(folder);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", START]).arg(executable).arg("--remote-debugging-pipe").args(FLAGS).arg(user_data_dir);
    if Uid::effective().is_root() {
        // Chromium refuses to run as root with its sandbox. Other users keep the sandbox.
        command.arg("--no-sandbox");
    }
    command.env_clear().envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("TMPDIR", folder);
    // A process group of its own: Ctrl-C at a terminal must reach only us, so that we can finish the documents in print.
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(profile.log.try_clone()?);
    Ok(command)
}

/// The browser's folder for everything it writes. Every process that uses the folder holds a lock on the log in it: ours,
/// and each process of the browser, because the log is their standard error. When the lock is free, all of them have
/// ended. Only then is the folder removed: at the end of [`Process::run`] or, if we were killed before, by a later
/// [`sweep`].
#[derive(Debug)]
struct Profile {
    log: File,
    folder: PathBuf,
}

impl Profile {
    fn create() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PROFILE_PREFIX).tempdir()?.keep();
        let unlocked = folder.join("new.log");
        let log = File::options().create_new(true).append(true).open(&unlocked)?;
        log.lock()?;
        // Renamed after it is locked, so that no sweep finds a log whose lock is not held yet.
        fs::rename(unlocked, folder.join(LOG))?;
        Ok(Self { log, folder })
    }

    /// Releases our lock. The browser's processes keep theirs.
    fn unlock(self) -> PathBuf {
        self.folder
    }
}

/// Waits until no process holds the lock. On a thread of its own and not in tokio's pool: the runtime waits for the pool
/// when it shuts down, and a browser that cannot be killed would block it.
async fn unused(log: PathBuf) {
    let (done, wait) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = File::open(log).and_then(|log| log.lock());
        done.send(())
    });
    let _ = wait.await;
}

/// Removes the profiles of processes that were killed before they could.
fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for profile in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PROFILE_PREFIX)) {
        let abandoned = File::open(profile.path().join(LOG)).is_ok_and(|log| log.try_lock().is_ok());
        if abandoned {
            remove(&profile.path());
        }
    }
}

fn remove(profile: &Path) {
    match fs::remove_dir_all(profile) {
        // Not found: another process swept it first.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, profile = %profile.display(), "a browser's profile could not be removed");
        }
        _ => {}
    }
}

fn last_lines(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
}
