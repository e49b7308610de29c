//! The folder of a private service. One program uses it at a time; it belongs to the user as whom the service runs.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, chown};

/// The user as whom a service runs, when it must not be ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunAs {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

impl RunAs {
    pub(crate) fn user(name: &str) -> Result<Self> {
        let user = User::from_name(name)?.with_context(|| format!("there is no user {name:?} on this machine"))?;
        Ok(Self { uid: user.uid, gid: user.gid })
    }
}

/// Lets `command` run as that user.
pub(crate) fn run_command_as(command: &mut Command, run_as: Option<RunAs>) {
    if let Some(user) = run_as {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}

/// An existing folder, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    run_as: Option<RunAs>,
    _lock: File,
}

impl Folder {
    pub(crate) fn open(wanted: &Path, run_as: Option<RunAs>) -> Result<Self> {
        let path = place(wanted, run_as).with_context(|| format!("cannot prepare {}", wanted.display()))?;
        let mut lock = private_file().create(true).truncate(false).open(path.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!(
                "{} is in use by another run of this program; stop that one or choose another folder",
                wanted.display()
            );
        }
        // For scripts/reset.sh, which stops the process that holds the lock.
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        Ok(Self { path, run_as, _lock: lock })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A private subfolder, created if it does not exist.
    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let path = self.join(name);
        private_folder(&path)?;
        self.give(&path)?;
        Ok(path)
    }

    /// A random password. The first call makes it and keeps it in a file that only its owner can read.
    pub(crate) fn password(&self) -> Result<String> {
        if let Some(known) = self.read("password") {
            return Ok(known);
        }
        let mut random = [0_u8; 16];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let password = format!("{:032x}", u128::from_ne_bytes(random));
        self.write("password", &password)?;
        Ok(password)
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.join(name)).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.join(name);
        private_file().create(true).truncate(true).open(&path)?.write_all(text.as_bytes())?;
        self.give(&path)?;
        Ok(path)
    }

    /// A new log file. The previous one is kept as `<name>.1`.
    pub(crate) fn new_log(&self, name: &str) -> Result<File> {
        let path = self.join(name);
        match fs::rename(&path, self.join(&format!("{name}.1"))) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(private_file().create(true).truncate(true).open(path)?),
        }
    }

    /// The path and the last lines of a log, for an error message.
    pub(crate) fn log_tail(&self, name: &str) -> String {
        const LINES: usize = 12;
        let path = self.join(name);
        let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        format!("{} ends:\n{}", path.display(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
    }

    fn give(&self, path: &Path) -> Result<()> {
        if let Some(user) = self.run_as {
            chown(path, Some(user.uid), Some(user.gid))?;
        }
        Ok(())
    }
}

/// The real path of the folder `wanted`, which may be a link.
///
/// The user as whom the service runs cannot reach a clone in root's home (mode 0700). Then the folder is created under
/// /var/tmp, and `wanted` becomes a link to it.
fn place(wanted: &Path, run_as: Option<RunAs>) -> Result<PathBuf> {
    let parent = match wanted.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent)?;
    let wanted = parent.canonicalize()?.join(wanted.file_name().context("a folder needs a name")?);
    if wanted.is_symlink() && !wanted.exists() {
        fs::remove_file(&wanted)?;
    }
    let Some(user) = run_as else {
        private_folder(&wanted)?;
        return Ok(wanted.canonicalize()?);
    };
    if !wanted.exists() && !reachable(&wanted, user)? {
        let elsewhere = tempfile::Builder::new().prefix("articurated-").tempdir_in("/var/tmp")?.keep();
        symlink(&elsewhere, &wanted)?;
        tracing::info!(wanted = %wanted.display(), used = %elsewhere.display(), "the service cannot reach the folder; it is a link to another one");
    }
    private_folder(&wanted)?;
    let path = wanted.canonicalize()?;
    if !reachable(&path, user)? {
        bail!("user {} cannot reach it: a folder above it is closed to others; choose another place", user.uid);
    }
    chown(&path, Some(user.uid), Some(user.gid))?;
    Ok(path)
}

/// Whether the user may pass through every folder above `path`.
fn reachable(path: &Path, user: RunAs) -> Result<bool> {
    for folder in path.ancestors().skip(1) {
        let meta = fs::metadata(folder)?;
        let passage = match () {
            () if meta.uid() == user.uid.as_raw() => 0o100,
            () if meta.gid() == user.gid.as_raw() => 0o010,
            () => 0o001,
        };
        if meta.mode() & passage == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn private_folder(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}
