//! Postgres and RabbitMQ: those that the settings name, or private ones.

use std::path::Path;

use anyhow::{Context, Result};
use embedded::{postgres, rabbitmq};
use messaging::TransportConfig;
use runtime::config::DatabaseConfig;
use runtime::database;
use secrecy::SecretString;
use sqlx::PgPool;

const DATABASE: &str = "articurated";

/// The services to use. Private ones stop when this is dropped.
#[derive(Debug)]
pub struct Services {
    pub database_url: SecretString,
    pub transport: TransportConfig,
    cluster: Option<postgres::PrivateCluster>,
    node: Option<rabbitmq::PrivateNode>,
}

/// The services that a run needs.
#[derive(Debug)]
pub struct Required<'a> {
    /// Folder of the private services.
    pub data_dir: &'a Path,
    pub postgres_port: Option<u16>,
    /// `None`: a private Postgres.
    pub database_url: Option<SecretString>,
    /// `None`: the Postgres queue. Without a URL: a private RabbitMQ.
    pub rabbitmq: Option<TransportConfig>,
    /// Whether private services start empty.
    pub fresh: bool,
}

impl Services {
    /// Starts the private services and migrates the database.
    pub async fn start(required: Required<'_>) -> Result<Self> {
        // Each takes seconds, so they start at the same time.
        let ((cluster, database_url), (node, transport)) =
            tokio::try_join!(provide_database(&required), provide_broker(&required))?;
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

/// Migrates a database to the current schema.
pub async fn migrate(database_url: &SecretString) -> Result<()> {
    let pool = pool(database_url, "migrate").await?;
    let migrated = schema::migrate(&pool).await;
    pool.close().await;
    migrated.context("cannot migrate the database")
}

/// A pool for a tool, with the rights of the URL's user.
pub async fn pool(database_url: &SecretString, name: &str) -> Result<PgPool> {
    let config = DatabaseConfig { database_url: database_url.clone(), max_connections: 2, ..DatabaseConfig::default() };
    database::connect(&config, None, name).await
}

async fn provide_database(required: &Required<'_>) -> Result<(Option<postgres::PrivateCluster>, SecretString)> {
    if let Some(url) = &required.database_url {
        return Ok((None, url.clone()));
    }
    let mut options = postgres::Options::new(required.data_dir.join("postgres"));
    options.port = required.postgres_port;
    options.fresh = required.fresh;
    let cluster = postgres::PrivateCluster::start(options).await.context("cannot start a private Postgres")?;
    if !cluster.database_exists(DATABASE).await? {
        cluster.create_database(DATABASE).await?;
    }
    let url = cluster.url(DATABASE).into();
    Ok((Some(cluster), url))
}

async fn provide_broker(required: &Required<'_>) -> Result<(Option<rabbitmq::PrivateNode>, TransportConfig)> {
    let Some(transport) = &required.rabbitmq else { return Ok((None, TransportConfig::default())) };
    if transport.rabbitmq_url.is_some() {
        return Ok((None, transport.clone()));
    }
    let mut options = rabbitmq::Options::new(required.data_dir.join("rabbitmq"));
    options.fresh = required.fresh;
    let node = rabbitmq::PrivateNode::start(options).await.context("cannot start a private RabbitMQ")?;
    let transport = TransportConfig { rabbitmq_url: Some(node.url().into()) };
    Ok((Some(node), transport))
}
