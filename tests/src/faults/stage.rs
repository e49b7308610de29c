//! The environment of a run: private services, a proxy in front of each, and a folder for logs and files.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use embedded::free_port;
use embedded::postgres::{self, PrivateCluster};
use embedded::rabbitmq::{self, PrivateNode};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;

use super::proxy::{Mode, Proxy};
use super::snapshot::HeldSnapshot;
use super::standby::{self, Standby};
use super::{Plan, Setup};
use crate::servers::MailServer;
use crate::{programs, services};

const DATABASE: &str = "articurated";
const READ_DATABASE: &str = "articurated_read";
/// The application name of the harness's own connections; it never cuts these.
pub(super) const OURS: &str = "faults";

/// The ports of a run. A process keeps its port over restarts.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) command: u16,
    pub(super) relays: [u16; 2],
    pub(super) workers: [u16; 2],
    pub(super) query: u16,
    pub(super) gateway: u16,
}

/// The proxies of a run.
#[derive(Debug)]
pub(super) struct Proxies {
    pub(super) database: Proxy,
    pub(super) broker: Option<Proxy>,
    pub(super) gateway: Proxy,
    pub(super) mail: Proxy,
}

impl Proxies {
    fn all(&self) -> impl Iterator<Item = &Proxy> {
        let Self { database, broker, gateway, mail } = self;
        [Some(database), broker.as_ref(), Some(gateway), Some(mail)].into_iter().flatten()
    }
}

/// The services, proxies and folders of a run.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) setup: Setup,
    pub(super) cluster: PrivateCluster,
    /// The replica that takes its place when it dies.
    standby: Standby,
    snapshot: HeldSnapshot,
    pub(super) node: Option<PrivateNode>,
    pub(super) mail: MailServer,
    pub(super) proxies: Proxies,
    pub(super) ports: Ports,
    /// The superuser's pool. It bypasses the proxy.
    pub(super) pool: PgPool,
    /// Logs, ledger and invoices.
    pub(super) folder: PathBuf,
    /// The temporary folder of the processes. It is not inside the other one, because the path of Chromium's socket
    /// would be too long.
    temporary: TempDir,
}

impl Stage {
    /// Starts the services. The databases get the schema of the release whose programs are in this folder.
    pub(super) async fn set(plan: &Plan, release: &Path) -> Result<Self> {
        let transport = if plan.setup.rabbitmq { "rabbitmq" } else { "postgres" };
        let folder = programs::profile_folder().join("fault-runs").join(format!("{transport}-{}", plan.seed));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let options = |name: &str| {
            let folder = services::folder(&format!("faults-{transport}-{name}"))?;
            anyhow::Ok(postgres::Options { fresh: true, ..postgres::Options::new(folder) })
        };
        let cluster = PrivateCluster::start(options("postgres")?).await?;
        for name in [DATABASE, READ_DATABASE] {
            cluster.create_database(name).await?;
            programs::migrate(&cluster.url(name), release).await?;
        }
        let node = if plan.setup.rabbitmq {
            let options = rabbitmq::Options::new(services::folder("faults-rabbitmq")?);
            Some(PrivateNode::start(rabbitmq::Options { fresh: true, ..options }).await?)
        } else {
            None
        };
        let ports = Ports {
            command: free_port()?,
            relays: [free_port()?, free_port()?],
            workers: [free_port()?, free_port()?],
            query: free_port()?,
            gateway: free_port()?,
        };
        let mail = MailServer::start()?;
        let proxies = Proxies {
            database: proxy(cluster.port(), plan.seed).await?,
            broker: match &node {
                Some(node) => Some(proxy(node.port(), plan.seed).await?),
                None => None,
            },
            gateway: proxy(ports.gateway, plan.seed).await?,
            mail: proxy(mail.port, plan.seed).await?,
        };
        let pool = pool(&cluster).await?;
        let standby = Standby::start(cluster.upstream(), [options("postgres")?, options("replica")?]);
        let (setup, temporary) = (plan.setup, tempfile::tempdir()?);
        let snapshot = HeldSnapshot::default();
        Ok(Self { setup, cluster, standby, snapshot, node, mail, proxies, ports, pool, folder, temporary })
    }

    /// The database as the processes reach it.
    pub(super) fn database_url(&self) -> String {
        through(&self.cluster.url(DATABASE), self.cluster.port(), &self.proxies.database)
    }

    /// The database without the proxy, for connections that the harness must not harm.
    pub(super) fn direct_url(&self) -> String {
        self.cluster.url(DATABASE)
    }

    /// Both databases, without the proxy.
    pub(super) fn databases(&self) -> [String; 2] {
        [DATABASE, READ_DATABASE].map(|name| self.cluster.url(name))
    }

    /// The database of the read models, if it is a separate one.
    pub(super) fn read_database_url(&self) -> Option<String> {
        let url = self.cluster.url(READ_DATABASE);
        self.setup.read_database.then(|| through(&url, self.cluster.port(), &self.proxies.database))
    }

    /// The broker as the processes reach it.
    pub(super) fn broker_url(&self) -> Option<String> {
        let (node, proxy) = self.node.as_ref().zip(self.proxies.broker.as_ref())?;
        Some(through(&node.url(), node.port(), proxy))
    }

    /// The gateway as the workers reach it.
    pub(super) fn gateway_url(&self) -> String {
        format!("http://{}", self.proxies.gateway.address())
    }

    /// The mail server as the workers reach it.
    pub(super) fn smtp_url(&self) -> String {
        format!("smtp://{}", self.proxies.mail.address())
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.jsonl")
    }

    pub(super) fn invoices(&self) -> PathBuf {
        self.folder.join("invoices")
    }

    pub(super) fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    pub(super) fn log(&self, process: &str) -> PathBuf {
        self.folder.join(format!("{}.log", process.replace(' ', "-")))
    }

    /// Sets the mode of every proxy.
    pub(super) fn network(&self, mode: Mode) {
        self.proxies.all().for_each(|proxy| proxy.set(mode));
    }

    /// The faults of the proxies so far, with their counts.
    pub(super) fn incidents(&self) -> Vec<(&'static str, u64)> {
        self.proxies.all().flat_map(Proxy::incidents).collect()
    }

    /// The server dies, and its replica takes its place. `false` when there is no replica yet: after a failover the next one is
    /// made in the background.
    pub(super) async fn fail_over(&mut self) -> Result<bool> {
        let Some(replica) = self.standby.take().await? else { return Ok(false) };
        self.cluster.upstream().caught_up(standby::CAUGHT_UP).await?;
        self.cluster.kill();
        replica.promote().await?;
        self.proxies.database.lead_to(local(replica.port()));
        let dead = std::mem::replace(&mut self.cluster, replica);
        self.pool = pool(&self.cluster).await?;
        // Its folder is that of the next replica.
        dead.stop().await;
        self.standby.build(self.cluster.upstream());
        Ok(true)
    }

    /// Holds a snapshot open for a while. `false` when one is open already.
    pub(super) fn hold_snapshot(&mut self, lasts: Duration) -> Result<bool> {
        Ok(self.snapshot.hold(ours(&self.cluster)?, lasts))
    }

    /// Ends the snapshot that is held open.
    pub(super) fn end_snapshot(&mut self) {
        self.snapshot.end();
    }

    /// Stops the services.
    pub(super) async fn strike(mut self) {
        self.end_snapshot();
        self.pool.close().await;
        if let Some(node) = self.node {
            node.stop().await;
        }
        // A server that stops sends its replica everything first.
        self.cluster.stop().await;
        self.standby.stop().await;
    }
}

/// Removes the files of a run.
pub(super) fn clear(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

async fn proxy(port: u16, seed: u64) -> Result<Proxy> {
    Ok(Proxy::start(local(port), seed).await?)
}

fn through(url: &str, port: u16, proxy: &Proxy) -> String {
    url.replace(&format!("127.0.0.1:{port}/"), &format!("{}/", proxy.address()))
}

async fn pool(cluster: &PrivateCluster) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(6).connect_with(ours(cluster)?).await?)
}

fn ours(cluster: &PrivateCluster) -> Result<PgConnectOptions> {
    Ok(cluster.url(DATABASE).parse::<PgConnectOptions>()?.application_name(OURS))
}
