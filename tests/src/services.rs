//! One Postgres and one RabbitMQ for all tests of a run. Every test gets its own database and its own virtual host.
//!
//! Rust never drops a static, so no code here stops the services. The kernel stops them when the test process ends,
//! even after a crash (see `embedded`). Their folder is under the target folder; the next run empties it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Result;
use contracts::Queue;
use embedded::postgres::{self, PrivateCluster};
use embedded::rabbitmq::{self, PrivateNode};
use messaging::TransportConfig;
use runtime::config::DatabaseConfig;
use runtime::database;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::{MutexGuard, OnceCell, Semaphore, SemaphorePermit};

const TEMPLATE: &str = "template_articurated";
/// Databases in use at a time. With a whole system on each, the cluster's 200 connections suffice.
const DATABASES: usize = 4;
/// Test runs at the same time. Each has its own folder.
const RUNS: usize = 16;

/// The folder of this run. The process holds its lock until it exits.
struct Place {
    folder: PathBuf,
    _lock: File,
}

static PLACE: LazyLock<Result<Place, String>> = LazyLock::new(|| place().map_err(|error| format!("{error:#}")));
static CLUSTER: OnceCell<PrivateCluster> = OnceCell::const_new();
static BROKER: OnceCell<tokio::sync::Mutex<PrivateNode>> = OnceCell::const_new();
static FREE: Semaphore = Semaphore::const_new(DATABASES);
/// Databases of finished tests.
static FINISHED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Next to the programs: `cargo clean` removes it, and .gitignore already covers it.
fn place() -> Result<Place> {
    for run in 0..RUNS {
        let folder = crate::programs::profile_folder().join("system-tests").join(run.to_string());
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        if lock.try_lock().is_ok() {
            return Ok(Place { folder, _lock: lock });
        }
    }
    anyhow::bail!("{RUNS} runs of these tests are in progress")
}

/// A folder of this test run.
pub fn folder(name: &str) -> Result<PathBuf> {
    match &*PLACE {
        Ok(place) => Ok(place.folder.join(name)),
        Err(error) => anyhow::bail!("{error}"),
    }
}

fn unique(prefix: &str) -> String {
    format!("{prefix}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn cluster() -> Result<&'static PrivateCluster> {
    CLUSTER
        .get_or_try_init(|| async {
            crate::traces::install();
            // No test cuts the power, and a disk that others keep busy must fail none.
            let options =
                postgres::Options { fresh: true, fsync: false, ..postgres::Options::new(folder("postgres")?) };
            let cluster = PrivateCluster::start(options).await?;
            cluster.create_database(TEMPLATE).await?;
            let config = DatabaseConfig { database_url: cluster.url(TEMPLATE).into(), ..DatabaseConfig::default() };
            let pool = database::connect(&config, None, "migrate").await?;
            schema::migrate(&pool).await?;
            // Postgres does not copy a database that has connections.
            pool.close().await;
            Ok(cluster)
        })
        .await
}

/// A migrated database that belongs to one test.
#[derive(Debug)]
pub struct Database {
    name: String,
    pub url: String,
    /// The superuser's pool, for tests that inspect or damage the database.
    pub pool: PgPool,
    _permit: Option<SemaphorePermit<'static>>,
}

impl Database {
    pub async fn new() -> Result<Self> {
        let permit = FREE.acquire().await?;
        let cluster = cluster().await?;
        let finished = std::mem::take(&mut *FINISHED.lock().unwrap_or_else(PoisonError::into_inner));
        for name in finished {
            cluster.drop_database(&name).await?;
        }
        Self::from_template(TEMPLATE, Some(permit)).await
    }

    async fn from_template(template: &str, permit: Option<SemaphorePermit<'static>>) -> Result<Self> {
        let (cluster, name) = (cluster().await?, unique("test"));
        cluster.create_database_from_template(&name, template).await?;
        let url = cluster.url(&name);
        let pool = PgPoolOptions::new().max_connections(4).connect(&url).await?;
        Ok(Self { name, url, pool, _permit: permit })
    }

    /// Copies the database in its present state. Closes this pool first, because Postgres copies a database only while
    /// it has no connections. The copy shares this permit: a test that waited for a second permit could wait for ever.
    pub async fn copy(&self) -> Result<Self> {
        self.pool.close().await;
        Self::from_template(&self.name, None).await
    }

    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig { database_url: self.url.clone().into(), ..DatabaseConfig::default() }
    }

    /// A pool with the rights of one of the processes.
    pub async fn pool_as(&self, role: &str) -> Result<PgPool> {
        database::connect(&self.config(), Some(role), "test").await
    }

    /// A connection as the owner, or as one of the processes.
    pub async fn connect(&self, role: Option<&str>) -> Result<PgConnection> {
        let mut connection = PgConnection::connect(&self.url).await?;
        if let Some(role) = role {
            sqlx::query(AssertSqlSafe(format!("set role {role}"))).execute(&mut connection).await?;
        }
        Ok(connection)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        FINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.name));
    }
}

/// The run's RabbitMQ. One test at a time holds it, because some tests restart it.
#[derive(Debug)]
pub struct Broker {
    node: MutexGuard<'static, PrivateNode>,
    vhost: String,
}

impl Broker {
    /// Starts the node at the first call, and creates an empty virtual host.
    pub async fn new() -> Result<Self> {
        let node = BROKER
            .get_or_try_init(|| async {
                let options = rabbitmq::Options { fresh: true, ..rabbitmq::Options::new(folder("rabbitmq")?) };
                anyhow::Ok(tokio::sync::Mutex::new(PrivateNode::start(options).await?))
            })
            .await?
            .lock()
            .await;
        let vhost = unique("test");
        node.ctl(&["add_vhost", &vhost]).await?;
        // The user in the node's URL.
        node.ctl(&["set_permissions", "--vhost", &vhost, "articurated", ".*", ".*", ".*"]).await?;
        Ok(Self { node, vhost })
    }

    pub fn transport(&self) -> TransportConfig {
        TransportConfig { rabbitmq_url: Some(self.url().into()) }
    }

    fn url(&self) -> String {
        self.node.url().replace("/%2f", &format!("/{}", self.vhost))
    }

    /// Kills the broker, as in a crash. [`restart`](Self::restart) starts it.
    pub fn kill(&self) {
        self.node.kill();
    }

    pub async fn restart(&mut self) -> Result<()> {
        self.node.restart().await
    }

    /// Deletes a queue and its binding.
    pub async fn delete_queue(&self, queue: Queue) -> Result<()> {
        self.node.ctl(&["delete_queue", "--vhost", &self.vhost, &crate::rabbitmq::name(queue)]).await.map(drop)
    }

    /// Deletes the messages that are ready in a queue.
    pub async fn purge(&self, queue: Queue) -> Result<()> {
        self.node.ctl(&["purge_queue", "--vhost", &self.vhost, &crate::rabbitmq::name(queue)]).await.map(drop)
    }

    /// Sets a policy for all queues.
    pub async fn set_policy(&self, definition: &str) -> Result<()> {
        let set = ["set_policy", "--vhost", &self.vhost, "--apply-to", "queues", "test", ".*", definition];
        self.node.ctl(&set).await.map(drop)
    }

    /// Declares a queue as a quorum queue without further arguments.
    pub async fn declare_otherwise(&self, queue: Queue) -> Result<()> {
        crate::rabbitmq::declare_otherwise(&self.url(), queue).await
    }

    /// Raises or clears the memory alarm. While it is raised, the broker blocks publishers.
    pub async fn memory_alarm(&self, raised: bool) -> Result<()> {
        crate::rabbitmq::memory_alarm(&self.node, raised).await
    }

    /// Deletes a queue's binding and keeps the queue.
    pub async fn unbind(&self, queue: Queue) -> Result<()> {
        crate::rabbitmq::unbind(&self.url(), queue).await
    }

    /// Ready messages in the queue of this name.
    pub async fn ready(&self, name: &str) -> Result<u32> {
        crate::rabbitmq::ready(&self.url(), name).await
    }

    /// Ready and unacknowledged messages in all queues of this test.
    pub async fn messages(&self) -> Result<u64> {
        crate::rabbitmq::messages(&self.node, &self.vhost).await
    }
}
