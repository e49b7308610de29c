//! The services that the system runs on when nobody names others.

use std::path::Path;

use anyhow::{Context, Result};
use embedded::{postgres, rabbitmq};
use messaging::TransportConfig;
use runtime::config::DatabaseConfig;
use runtime::database;
use secrecy::SecretString;
use sqlx::PgPool;

const DATABASE: &str = "articurated";

/// What is to be used, and the private services behind it; they stop when this is dropped.
#[derive(Debug)]
pub struct Services {
    pub database_url: SecretString,
    pub transport: TransportConfig,
    cluster: Option<postgres::PrivateCluster>,
    node: Option<rabbitmq::PrivateNode>,
}

/// What a run wants to have.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Folder of the private services.
    pub data_dir: &'a Path,
    pub postgres_port: Option<u16>,
    /// None: a private Postgres.
    pub database_url: Option<SecretString>,
    /// None: the Postgres queue. Some without a URL: a private RabbitMQ.
    pub rabbitmq: Option<TransportConfig>,
    /// Begin with empty services.
    pub fresh: bool,
}

impl Services {
    /// Starts what is wanted and brings the database's schema up to date.
    pub async fn start(wanted: Wanted<'_>) -> Result<Self> {
        // Both take seconds, and neither needs the other.
        let ((cluster, database_url), (node, transport)) =
            tokio::try_join!(provide_database(&wanted), provide_broker(&wanted))?;
        migrate(&database_url).await?;
        Ok(Self { database_url, transport, cluster, node })
    }

    pub async fn stop(self) {
        if let Some(node) = self.node {
            node.stop().await;
        }
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
    }
}

/// Brings the schema of a database up to date.
pub async fn migrate(database_url: &SecretString) -> Result<()> {
    let pool = pool(database_url, "migrate").await?;
    let migrated = schema::migrate(&pool).await;
    pool.close().await;
    migrated.context("cannot migrate the database")
}

/// A pool with the rights of the URL's own user, for a tool.
pub async fn pool(database_url: &SecretString, name: &str) -> Result<PgPool> {
    let config = DatabaseConfig { database_url: database_url.clone(), max_connections: 2, ..DatabaseConfig::default() };
    database::connect(&config, None, name).await
}

async fn provide_database(wanted: &Wanted<'_>) -> Result<(Option<postgres::PrivateCluster>, SecretString)> {
    if let Some(url) = &wanted.database_url {
        return Ok((None, url.clone()));
    }
    let mut options = postgres::Options::new(wanted.data_dir.join("postgres"));
    options.port = wanted.postgres_port;
    options.fresh = wanted.fresh;
    let cluster = postgres::PrivateCluster::start(options).await.context("cannot start a private Postgres")?;
    if !cluster.database_exists(DATABASE).await? {
        cluster.create_database(DATABASE).await?;
    }
    let url = cluster.url(DATABASE).into();
    Ok((Some(cluster), url))
}

async fn provide_broker(wanted: &Wanted<'_>) -> Result<(Option<rabbitmq::PrivateNode>, TransportConfig)> {
    let Some(transport) = &wanted.rabbitmq else { return Ok((None, TransportConfig::default())) };
    if transport.rabbitmq_url.is_some() {
        return Ok((None, transport.clone()));
    }
    let mut options = rabbitmq::Options::new(wanted.data_dir.join("rabbitmq"));
    options.fresh = wanted.fresh;
    let node = rabbitmq::PrivateNode::start(options).await.context("cannot start a private RabbitMQ")?;
    let transport = TransportConfig { rabbitmq_url: Some(node.url().into()) };
    Ok((Some(node), transport))
}
