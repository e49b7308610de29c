//! A private Postgres.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use crate::child::{Child, bound_to_parent};
use crate::folder::{Folder, RunAs};
use crate::{ports, programs};

const SUPERUSER: &str = "articurated";
const LOG: &str = "postgres.log";
const START_DEADLINE: Duration = Duration::from_mins(1);
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Durable, because results and figures from this cluster must hold on a real one.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    // No socket in a shared folder.
    "unix_socket_directories=",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "max_connections=200",
    "shared_buffers=256MB",
    "wal_buffers=16MB",
    "max_wal_size=2GB",
    "checkpoint_timeout=15min",
    "checkpoint_completion_target=0.9",
    "random_page_cost=1.1",
    // Compiling a plan takes longer than any of our statements.
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
];

/// Where and how to start the cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Holds everything of the cluster; created if it does not exist.
    pub folder: PathBuf,
    /// `None`: the port of the last run if it is free, else any free port.
    pub port: Option<u16>,
    /// Start with an empty cluster; delete what the folder holds.
    pub fresh: bool,
}

impl Options {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), port: None, fresh: false }
    }
}

/// A running Postgres; it stops when this is dropped.
#[derive(Debug)]
pub struct PrivateCluster {
    place: Arc<Place>,
    child: Child,
}

/// What stays the same across restarts.
#[derive(Debug)]
struct Place {
    folder: Folder,
    programs: PathBuf,
    run_as: Option<RunAs>,
    password: String,
    port: u16,
}

impl PrivateCluster {
    /// Starts Postgres on the folder, after `initdb` if it is new.
    ///
    /// A server that a killed run left behind is stopped first: unlike a new one, it would outlive this program.
    pub async fn start(options: Options) -> Result<Self> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options)).await?
    }

    fn start_blocking(options: &Options) -> Result<Self> {
        let place = Arc::new(Place::prepare(options)?);
        let child = place.start_server()?;
        tracing::info!(port = place.port, pid = child.pid(), folder = %options.folder.display(), "a private Postgres is ready");
        Ok(Self { place, child })
    }

    /// The superuser's URL of a database of this cluster. It holds the password: do not log it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.place.password, self.place.port)
    }

    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub async fn database_exists(&self, name: &str) -> Result<bool> {
        let mut connection = self.connect().await?;
        let count: i64 = sqlx::query_scalar("select count(*) from pg_database where datname = $1")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(count > 0)
    }

    pub async fn create_database(&self, name: &str) -> Result<()> {
        self.execute(format!("create database {}", identifier(name)?)).await
    }

    /// A copy of another database of this cluster. The template must have no open connections.
    pub async fn create_database_from_template(&self, name: &str, template: &str) -> Result<()> {
        self.execute(format!("create database {} template {}", identifier(name)?, identifier(template)?)).await
    }

    /// Drops the database if it exists, and closes its connections.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        self.execute(format!("drop database if exists {} with (force)", identifier(name)?)).await
    }

    /// Stops the server at once and without a checkpoint, as in a crash (`pg_ctl stop -m immediate`). `restart` brings it
    /// back on the same port with everything that was committed.
    pub fn kill(&self) {
        self.child.stop(Signal::SIGQUIT, STOP_PATIENCE);
    }

    /// Stops the server if it runs, and starts it again. After a [`kill`](Self::kill) it first recovers from its log.
    pub async fn restart(&mut self) -> Result<()> {
        let (place, stopped) = (Arc::clone(&self.place), self.child.clone());
        self.child = tokio::task::spawn_blocking(move || {
            stopped.stop(Signal::SIGINT, STOP_PATIENCE);
            place.start_server()
        })
        .await??;
        Ok(())
    }

    /// Closes every connection and stops. Dropping does the same, but blocks the thread.
    pub async fn stop(self) {
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    async fn connect(&self) -> Result<PgConnection> {
        Ok(self.url("postgres").parse::<PgConnectOptions>()?.connect().await?)
    }

    async fn execute(&self, statement: String) -> Result<()> {
        let mut connection = self.connect().await?;
        // Only names are inserted into the text, and `identifier` has checked them.
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        // SIGINT is Postgres' "fast shutdown": it disconnects clients, writes everything and ends.
        self.child.stop(Signal::SIGINT, STOP_PATIENCE);
    }
}

impl Place {
    fn prepare(options: &Options) -> Result<Self> {
        let (programs, version) = programs::postgres()?;
        // Postgres refuses to run as root.
        let run_as = if Uid::effective().is_root() {
            Some(
                RunAs::user("postgres")
                    .context("started as root, Postgres runs as the user postgres: apt-get install postgresql")?,
            )
        } else {
            None
        };
        let folder = Folder::open(&options.folder, run_as)?;
        let data = folder.join("data");
        stop_leftover(&data)?;
        if options.fresh && data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let password = folder.password()?;
        if data.exists() {
            check_usable(&data, version, run_as)?;
        } else {
            init(&programs, &folder, &data, run_as)?;
        }
        let last = folder.read("port").and_then(|text| text.parse().ok());
        let port = ports::claim(options.port, last, "Postgres")?;
        folder.write("port", &port.to_string())?;
        Ok(Self { folder, programs, run_as, password, port })
    }

    fn start_server(&self) -> Result<Child> {
        let data = self.folder.join("data");
        let child = Child::spawn("postgres", self.server(&data)?)?;
        if let Err(error) = child.wait_until(START_DEADLINE, || is_ready(&data, child.pid())) {
            child.stop(Signal::SIGINT, STOP_PATIENCE);
            return Err(error.context(self.folder.log_tail(LOG)));
        }
        Ok(child)
    }

    fn server(&self, data: &Path) -> Result<Command> {
        let log = self.folder.new_log(LOG)?;
        let mut command = bound_to_parent(Signal::SIGINT, self.programs.join("postgres"));
        command.arg("-D").arg(data).arg("-p").arg(self.port.to_string());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log)).current_dir(self.folder.join("."));
        as_user(&mut command, self.run_as);
        Ok(command)
    }
}

fn identifier(name: &str) -> Result<String> {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    ensure!(plain && !name.is_empty() && name.len() <= 63, "{name:?} is not a plain lower-case name for a database");
    Ok(format!("\"{name}\""))
}

/// Creates the data folder under another name first, so that an interrupted `initdb` leaves no folder that looks complete.
fn init(programs: &Path, folder: &Folder, data: &Path, run_as: Option<RunAs>) -> Result<()> {
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
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"])
        .current_dir(folder.join("."));
    as_user(&mut command, run_as);
    let output = command.output().context("cannot run initdb")?;
    ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(fs::rename(unfinished, data)?)
}

fn as_user(command: &mut Command, run_as: Option<RunAs>) {
    if let Some(user) = run_as {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}

fn check_usable(data: &Path, version: u32, run_as: Option<RunAs>) -> Result<()> {
    let made_by = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
    if made_by.trim() != version.to_string() {
        bail!("{} was made by Postgres {}, but version {version} is installed; `make reset` starts from scratch", data.display(), made_by.trim());
    }
    let owner = fs::metadata(data)?.uid();
    let user = run_as.map_or_else(Uid::effective, |user| user.uid).as_raw();
    if owner != user {
        bail!("{} belongs to user {owner}, but Postgres would run as user {user}; `make reset` starts from scratch", data.display());
    }
    Ok(())
}

/// What the server reports, as `pg_ctl` reads it: line 1 of postmaster.pid is its process id, line 8 its state.
fn is_ready(data: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

/// Stops the server of a killed run. This program holds the folder's lock, so no other program uses that server.
fn stop_leftover(data: &Path) -> Result<()> {
    let Some(pid) = leftover(data) else { return Ok(()) };
    tracing::warn!(pid = pid.as_raw(), "stopping a Postgres that a killed run left behind");
    kill(pid, Signal::SIGINT)?;
    let until = Instant::now() + STOP_PATIENCE;
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
