//! A streaming replica: made from a running server, and promoted in its place.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::{Options, Place, PrivateCluster, SUPERUSER};
use crate::child::bound_to_parent;
use crate::folder::run_command_as;

/// The name under which a replica announces itself. [`SYNCHRONOUS`] has it as well.
const NAME: &str = "replica";
/// The primary keeps this much of its log for a replica that is behind. It ends up in the replica's own settings as well.
const KEEP_LOG: &str = "alter system set wal_keep_size = '512MB'";
/// A replica that has lost its primary asks again this soon. The default of 5 s would hold up synchronous commits for as long
/// after each restart of the primary.
const RECONNECT: &str = "alter system set wal_retrieve_retry_interval = '100ms'";
const SYNCHRONOUS: &str = "alter system set synchronous_standby_names = 'replica'";
const POLL: Duration = Duration::from_millis(20);

/// A running server, as its replica reaches it.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// On the loopback interface.
    port: u16,
    password: String,
}

impl PrivateCluster {
    /// This server, for a replica.
    pub fn upstream(&self) -> Upstream {
        Upstream { port: self.place.port, password: self.place.password.clone() }
    }

    /// Ends recovery: from now on this replica is a server of its own and accepts writes.
    pub async fn promote(&self) -> Result<()> {
        let mut connection = self.connect().await?;
        let promoted: bool = sqlx::query_scalar("select pg_promote()").fetch_one(&mut connection).await?;
        ensure!(promoted, "the replica was not promoted in time");
        Ok(connection.close().await?)
    }
}

impl Upstream {
    /// The same server, reached through something that listens on this port.
    #[must_use]
    pub fn through(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Makes a streaming replica in a folder of its own, and starts it. What the folder held is deleted. The replica has the
    /// password of its primary.
    pub async fn replicate(&self, options: Options) -> Result<PrivateCluster> {
        self.set(&[KEEP_LOG, RECONNECT]).await?;
        let (upstream, options) = (self.clone(), Options { fresh: true, ..options });
        let replica = tokio::task::spawn_blocking(move || {
            let place = Place::prepare(&options, |place, data| copy(&upstream, place, data))?;
            let place = Place { password: upstream.password, ..place };
            place.folder.write("password", &place.password)?;
            PrivateCluster::start_on(place)
        });
        replica.await?
    }

    /// From now on the server acknowledges a commit only when its replica has it, on disk.
    pub async fn commit_on_replica(&self) -> Result<()> {
        self.set(&[SYNCHRONOUS]).await
    }

    /// Waits until the replica has everything that the server has now. Where commits wait for the replica, it also has every
    /// later one that is acknowledged.
    ///
    /// # Errors
    /// When it does not have it in time, or the server is down.
    pub async fn caught_up(&self, within: Duration) -> Result<()> {
        let mut connection = self.connect().await?;
        let now: String =
            sqlx::query_scalar("select pg_current_wal_flush_lsn()::text").fetch_one(&mut connection).await?;
        let until = Instant::now() + within;
        loop {
            let has_it: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_replication
                                where application_name = $1 and state = 'streaming' and flush_lsn >= $2::pg_lsn
                                  and (sync_state = 'sync' or current_setting('synchronous_standby_names') = ''))",
            )
            .bind(NAME)
            .bind(&now)
            .fetch_one(&mut connection)
            .await?;
            if has_it {
                return Ok(connection.close().await?);
            }
            ensure!(Instant::now() < until, "the replica has not caught up within {within:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn connect(&self) -> Result<PgConnection> {
        let options = PgConnectOptions::new().host("127.0.0.1").port(self.port).database("postgres");
        Ok(options.username(SUPERUSER).password(&self.password).connect().await?)
    }

    async fn set(&self, settings: &[&'static str]) -> Result<()> {
        let mut connection = self.connect().await?;
        for setting in settings {
            sqlx::query(*setting).execute(&mut connection).await?;
        }
        sqlx::query("select pg_reload_conf()").execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}

/// A copy of the data of a running server, with the settings of a replica.
fn copy(upstream: &Upstream, place: &Place, data: &Path) -> Result<()> {
    let unfinished = place.folder.join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let mut command = bound_to_parent(Signal::SIGKILL, place.programs.join("pg_basebackup"));
    let primary = format!("host=127.0.0.1 port={} user={SUPERUSER} application_name={NAME}", upstream.port);
    command.arg("--pgdata").arg(&unfinished).args(["--dbname", &primary]);
    command.args(["--write-recovery-conf", "--checkpoint=fast", "--no-password"]).env("PGPASSWORD", &upstream.password);
    command.current_dir(place.folder.join("."));
    run_command_as(&mut command, place.run_as);
    let output = command.output().context("cannot run pg_basebackup")?;
    ensure!(output.status.success(), "pg_basebackup failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(fs::rename(unfinished, data)?)
}
