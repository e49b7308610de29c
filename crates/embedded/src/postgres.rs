//! A private Postgres.

mod data;
mod replica;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use crate::child::{Child, bound_to_parent};
use crate::folder::{Folder, RunAs, run_command_as};
use crate::{ports, programs};

pub use replica::Upstream;

const SUPERUSER: &str = "articurated";
const LOG: &str = "postgres.log";
const START_DEADLINE: Duration = Duration::from_mins(1);
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Results and figures from this cluster must hold on a real one.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    // No socket in a shared folder.
    "unix_socket_directories=",
    "synchronous_commit=on",
    "max_connections=200",
    "shared_buffers=256MB",
    "wal_buffers=16MB",
    "max_wal_size=2GB",
    "checkpoint_timeout=15min",
    "checkpoint_completion_target=0.9",
    "random_page_cost=1.1",
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
    /// What is committed survives a power cut. Without, a commit does not wait for the disk; a kill of the server still loses nothing.
    pub fsync: bool,
}

impl Options {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), port: None, fresh: false, fsync: true }
    }
}

/// A running Postgres; it stops when this is dropped.
///
/// It may be a streaming replica of another one: see [`Upstream::replicate`].
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
    fsync: bool,
}

impl PrivateCluster {
    /// Starts Postgres on the folder, after `initdb` if it is new.
    ///
    /// A server that a killed run left behind is stopped first: unlike a new one, it would outlive this program.
    pub async fn start(options: Options) -> Result<Self> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options)).await?
    }

    fn start_blocking(options: &Options) -> Result<Self> {
        Self::start_on(Place::prepare(options, |place, data| {
            data::init(&place.programs, &place.folder, data, SUPERUSER, place.run_as)
        })?)
    }

    fn start_on(place: Place) -> Result<Self> {
        let place = Arc::new(place);
        let child = place.start_server()?;
        tracing::info!(port = place.port, pid = child.pid(), folder = %place.folder.join(".").display(), "a private Postgres is ready");
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
    /// `create` makes the data folder if there is none.
    fn prepare(options: &Options, create: impl FnOnce(&Self, &Path) -> Result<()>) -> Result<Self> {
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
        data::stop_leftover(&data, STOP_PATIENCE)?;
        if options.fresh && data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let password = folder.password()?;
        let last = folder.read("port").and_then(|text| text.parse().ok());
        let port = ports::claim(options.port, last, "Postgres")?;
        folder.write("port", &port.to_string())?;
        let place = Self { folder, programs, run_as, password, port, fsync: options.fsync };
        if data.exists() {
            data::check_usable(&data, version, run_as)?;
        } else {
            create(&place, &data)?;
        }
        Ok(place)
    }

    fn start_server(&self) -> Result<Child> {
        let data = self.folder.join("data");
        let child = Child::spawn("postgres", self.server(&data)?)?;
        if let Err(error) = child.wait_until(START_DEADLINE, || data::is_ready(&data, child.pid())) {
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
        let fsync = if self.fsync { "on" } else { "off" };
        command.args(["-c", &format!("fsync={fsync}"), "-c", &format!("full_page_writes={fsync}")]);
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log)).current_dir(self.folder.join("."));
        run_command_as(&mut command, self.run_as);
        Ok(command)
    }
}

fn identifier(name: &str) -> Result<String> {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    ensure!(plain && !name.is_empty() && name.len() <= 63, "{name:?} is not a plain lower-case name for a database");
    Ok(format!("\"{name}\""))
}
