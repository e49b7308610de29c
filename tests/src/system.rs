//! A running system for one test, with access to its database, API and gateway.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use access::ConsistencyKey;
use anyhow::{Context, Result};
use contracts::Queue;
use messaging::{TransportConfig, intake};
use runtime::Tasks;
use standalone::{Options, Part, Ports, Running};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Api, Database, books};

/// Without the workers, which start a Chromium, and without the gateway, which only they call.
pub const WITHOUT_WORKERS: [Part; 4] = [Part::Command, Part::Relay, Part::Query, Part::Operations];

/// One system on its own database.
#[derive(Debug)]
pub struct System {
    pub api: Api,
    /// The payment gateway.
    pub gateway: Api,
    pub database: Database,
    options: Options,
    running: Running,
    folder: TempDir,
}

impl System {
    /// Starts a system. The options are [`WITHOUT_WORKERS`] with default settings; `adjust` may change them.
    pub async fn start(adjust: impl FnOnce(&mut Options)) -> Result<Self> {
        Self::start_on(Database::new().await?, adjust).await
    }

    /// The same, on this port.
    pub async fn start_at(port: u16, adjust: impl FnOnce(&mut Options)) -> Result<Self> {
        Self::start_on_port(Database::new().await?, port, adjust).await
    }

    /// The same, on a prepared database.
    pub async fn start_on(database: Database, adjust: impl FnOnce(&mut Options)) -> Result<Self> {
        Self::start_on_port(database, 0, adjust).await
    }

    async fn start_on_port(database: Database, port: u16, adjust: impl FnOnce(&mut Options)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = Options::new(database.url.clone());
        options.parts = WITHOUT_WORKERS.to_vec();
        let store = folder.path().join("invoices");
        store.to_str().context("a plain path")?.clone_into(&mut options.workers.store.invoice_store_url);
        adjust(&mut options);
        let ports = Ports::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), port, 0).await?;
        let running = Box::pin(standalone::start_on(ports, options.clone(), CancellationToken::new())).await?;
        let api = Api::new(&format!("{}/api/v1", running.base_url))?;
        let gateway = Api::new(&running.gateway_url)?;
        Ok(Self { api, gateway, database, options, running, folder })
    }

    pub async fn commands_only() -> Result<Self> {
        Self::start(|options| options.parts = vec![Part::Command]).await
    }

    /// Starts these parts on this transport.
    pub async fn start_via(transport: &TransportConfig, parts: &[Part]) -> Result<Self> {
        Self::start(|options| {
            options.parts = parts.to_vec();
            options.transport = transport.clone();
        })
        .await
    }

    /// A second command process on the same database.
    pub async fn second_command_process(&self) -> Result<Second> {
        let options = Options { parts: vec![Part::Command], ..self.options.clone() };
        let running = standalone::start(options).await?;
        Ok(Second { api: Api::new(&format!("{}/api/v1", running.base_url))?, running })
    }

    /// Another relay on the same database and transport; it stops with the tasks.
    pub async fn another_relay(&self, name: &str) -> Result<Tasks> {
        let pool = self.database.pool_as("articurated_relay").await?;
        let tasks = Tasks::new(CancellationToken::new());
        let Options { transport, relay, clock, .. } = &self.options;
        outbox_relay::start(&pool, &self.database.config(), transport, relay, name, clock, &tasks);
        Ok(tasks)
    }

    /// Moves messages of these queues from RabbitMQ to the inbox, without the workers.
    pub async fn intakes(&self, transport: &TransportConfig, queues: &[Queue]) -> Result<Tasks> {
        let pool = self.database.pool_as("articurated_workers").await?;
        let tasks = Tasks::new(CancellationToken::new());
        for queue in queues {
            tasks.spawn("intake", intake::run(pool.clone(), transport.clone(), *queue, tasks.clone()));
        }
        Ok(tasks)
    }

    /// The consistency token of a version, as a command would answer it.
    pub async fn token(&self, entity: &str, id: Uuid, version: i32) -> Result<String> {
        Ok(ConsistencyKey::load(&self.database.pool).await?.token(entity, id, version))
    }

    /// The folder of the invoices.
    pub fn invoices(&self) -> PathBuf {
        self.folder.path().join("invoices")
    }

    /// Without `/api/v1`.
    pub fn base_url(&self) -> &str {
        &self.running.base_url
    }

    /// Stops the system gracefully and audits the database.
    ///
    /// # Errors
    /// When a task failed or did not stop in time, or the audit finds a violation.
    pub async fn finish(self) -> Result<()> {
        self.stop().await.map(drop)
    }

    /// Stops the system gracefully, without an audit: for tests that write to the database themselves.
    pub async fn abandon(self) -> Result<()> {
        self.running.stop().await
    }

    /// [`finish`](Self::finish)es and returns the database.
    pub async fn stop(self) -> Result<Database> {
        self.running.stop().await?;
        let broker = self.options.transport.rabbitmq_url.is_some();
        books::check(&self.database.pool, broker).await?;
        Ok(self.database)
    }
}

/// A second process that shares the database of a [`System`]; stop it first.
#[derive(Debug)]
pub struct Second {
    pub api: Api,
    running: Running,
}

impl Second {
    pub async fn stop(self) -> Result<()> {
        self.running.stop().await
    }
}
