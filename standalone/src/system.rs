//! Composes the processes into one system with two ports: the API and the payment gateway.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use access::{Access, AccessSettings, ConsistencyKey};
use anyhow::Result;
use axum::Router;
use messaging::TransportConfig;
use operations::audit::Sources;
use operations::console::ConsoleSettings;
use operations::doctor::Surroundings;
use operations::mcp::McpSettings;
use operations::seal::SealSettings;
use runtime::config::{DatabaseConfig, HttpLimits};
use runtime::health::{self, Check};
use runtime::{Clock, Ids, Tasks, database, http};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::private::Services;
use crate::site;

/// Longest wait for running tasks at shutdown. Requests are cut off after 10 s.
const DRAIN: Duration = Duration::from_secs(20);

/// One of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Command,
    Relay,
    Workers,
    Query,
    Operations,
    Gateway,
}

impl Part {
    pub const ALL: [Self; 6] =
        [Self::Command, Self::Relay, Self::Workers, Self::Query, Self::Operations, Self::Gateway];

    /// Name and database role, the same as in the process of its own.
    const fn database(self) -> (&'static str, &'static str) {
        match self {
            Self::Command => ("command", "articurated_command"),
            Self::Relay => ("outbox-relay", "articurated_relay"),
            Self::Workers => ("workers", "articurated_workers"),
            Self::Query => ("query", query::ROLE),
            Self::Operations => ("operations", operations::ROLE),
            Self::Gateway => unreachable!(),
        }
    }
}

/// The parts to start, their settings, and the services that they use.
#[derive(Debug, Clone)]
pub struct Options {
    /// A migrated database.
    pub database_url: SecretString,
    pub transport: TransportConfig,
    /// Without the gateway, the workers call the one that their own settings name.
    pub parts: Vec<Part>,
    pub limits: HttpLimits,
    pub access: AccessSettings,
    pub command: command::Settings,
    pub relay: outbox_relay::Settings,
    /// An audit uses the sources of the other parts, unless these settings name others.
    pub operations: Sources,
    pub console: ConsoleSettings,
    pub mcp: McpSettings,
    pub seal: SealSettings,
    /// The query service uses the invoice store of the workers.
    pub workers: workers::Settings,
    pub query: query::Settings,
    pub gateway: payment_gateway::Settings,
    pub clock: Clock,
    pub ids: Ids,
}

impl Options {
    /// All parts with their default settings.
    pub fn new(database_url: impl Into<SecretString>) -> Self {
        Self {
            database_url: database_url.into(),
            transport: TransportConfig::default(),
            parts: Part::ALL.to_vec(),
            limits: HttpLimits::default(),
            access: AccessSettings::default(),
            command: command::Settings::default(),
            relay: outbox_relay::Settings::default(),
            operations: Sources::default(),
            console: ConsoleSettings::default(),
            mcp: McpSettings::default(),
            seal: SealSettings::default(),
            workers: workers::Settings::default(),
            query: query::Settings::default(),
            gateway: payment_gateway::Settings::default(),
            clock: Clock::system(),
            ids: Ids::system(),
        }
    }

    /// Uses these services instead of those set before.
    pub fn run_on(&mut self, services: &Services) {
        self.database_url = services.database_url.clone();
        self.transport = services.transport.clone();
    }

    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The connections are enough for the part's share of one machine.
    fn database(&self, part: Part) -> DatabaseConfig {
        let max_connections = match part {
            Part::Command => self.command.connections(),
            Part::Relay => 6,
            Part::Workers => 12,
            Part::Query => 14,
            Part::Operations => 5,
            Part::Gateway => unreachable!(),
        };
        DatabaseConfig { database_url: self.database_url.clone(), max_connections, ..DatabaseConfig::default() }
    }

    async fn pool(&self, part: Part) -> Result<PgPool> {
        let (name, role) = part.database();
        let admission = match part {
            Part::Relay | Part::Workers => schema::admission_for_loops(),
            _ => schema::admission(),
        };
        database::connect_admitted(&self.database(part), role, name, admission).await
    }

    /// The operators' API and console, and the tools of assistants. Its audits know the invoice store and the gateway of the other parts.
    async fn operations(&self, pool: PgPool, access: &Access, tasks: &Tasks) -> Result<Router> {
        let Sources { gateway_url, invoice_store, query_database_url, seal_store_url, seal_public_keys } =
            self.operations.clone();
        let store = &self.workers.store.invoice_store_url;
        let sources = Sources {
            gateway_url: gateway_url.or_else(|| self.has(Part::Gateway).then(|| self.workers.gateway_url.clone())),
            invoice_store: invoice_store.or_else(|| self.has(Part::Workers).then(|| store.clone())),
            query_database_url,
            seal_store_url,
            seal_public_keys,
        };
        let (transport, retention) = (self.transport.clone(), self.relay.retention);
        let surroundings = Surroundings { transport, retention, clock: self.clock.clone() };
        let allow_private_webhooks = self.workers.webhooks.webhook_allow_private;
        let shared = operations::Shared::new(pool, sources, surroundings, allow_private_webhooks);
        let pages = operations::console::routes(shared.clone(), access, self.console.clone(), tasks).await?;
        let tools = operations::mcp::routes(shared.clone(), access, &self.mcp, &self.limits);
        Ok(operations::api::routes(shared, access).merge(pages).merge(tools))
    }
}

/// The two listeners. They are bound before anything starts, so that a port in use fails early.
#[derive(Debug)]
pub struct Ports {
    api: TcpListener,
    gateway: TcpListener,
}

impl Ports {
    /// Port 0 means any free port.
    pub async fn bind(address: IpAddr, port: u16, gateway_port: u16) -> Result<Self> {
        Ok(Self {
            api: http::bind(SocketAddr::new(address, port), "PORT").await?,
            gateway: http::bind(SocketAddr::new(address, gateway_port), "GATEWAY_PORT").await?,
        })
    }
}

/// A running system. Dropping it does not stop it; [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct Running {
    /// `http://127.0.0.1:8000`; the API is under `/api/v1`.
    pub base_url: String,
    pub gateway_url: String,
    tasks: Tasks,
    /// The gateway stops last, because a running refund calls it.
    gateway: Tasks,
}

/// Starts the parts that `options` names on free ports of the loopback interface.
pub async fn start(options: Options) -> Result<Running> {
    let ports = Ports::bind(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 0).await?;
    start_on(ports, options, CancellationToken::new()).await
}

/// Starts the parts that `options` names; all of them stop when `shutdown` is cancelled.
pub async fn start_on(ports: Ports, mut options: Options, shutdown: CancellationToken) -> Result<Running> {
    let running = Running {
        base_url: format!("http://{}", ports.api.local_addr()?),
        gateway_url: format!("http://{}", ports.gateway.local_addr()?),
        tasks: Tasks::new(shutdown),
        gateway: Tasks::new(CancellationToken::new()),
    };
    if options.has(Part::Gateway) {
        options.workers.gateway_url.clone_from(&running.gateway_url);
    }
    match running.assemble(ports, &options).await {
        Ok(()) => Ok(running),
        Err(error) => {
            // The first failure is the one to report, so errors of stopping are dropped.
            let _ = running.stop().await;
            Err(error)
        }
    }
}

impl Running {
    async fn assemble(&self, ports: Ports, options: &Options) -> Result<()> {
        let Ports { api, gateway } = ports;
        if options.has(Part::Gateway) {
            let router = payment_gateway::router(options.gateway.clone(), options.clock.clone(), options.ids.clone())?
                .merge(health::routes(Vec::new()));
            let router = http::layered(router, "payment-gateway", &options.limits);
            let (limits, shutdown) = (options.limits.clone(), self.gateway.shutdown.clone());
            self.gateway.spawn("gateway http", async move { http::serve(gateway, router, &limits, shutdown).await });
        }
        let address = api.local_addr()?.ip();
        let (router, checks) = self.parts(options, address).await?;
        let router = router
            .merge(health::routes(checks))
            .merge(runtime::docs::routes(contracts::API_SPECIFICATION))
            .merge(site::routes(&self.base_url, &self.gateway_url));
        let router = http::layered(router, "standalone", &options.limits);
        let (limits, shutdown) = (options.limits.clone(), self.tasks.shutdown.clone());
        self.tasks.spawn("http", async move { http::serve(api, router, &limits, shutdown).await });
        Ok(())
    }

    /// The routes of the parts, and their readiness checks.
    async fn parts(&self, options: &Options, address: IpAddr) -> Result<(Router, Vec<Check>)> {
        let Options { transport, clock, ids, .. } = options;
        let tasks = &self.tasks;
        let mut router = Router::new();
        let mut checks: Vec<Check> = messaging::rabbitmq::readiness(transport).into_iter().collect();
        if options.has(Part::Command) {
            let pool = options.pool(Part::Command).await?;
            checks.push(Check::database(&pool));
            let access = Access::start(&options.access, address, &pool, clock, tasks).await?;
            let (settings, key) = (&options.command, ConsistencyKey::load(&pool).await?);
            router = router.merge(command::start(pool, settings, clock.clone(), ids.clone(), &access, key, tasks)?);
        }
        if options.has(Part::Relay) {
            let pool = options.pool(Part::Relay).await?;
            checks.push(Check::database(&pool));
            let name = format!("relay-{}", ids.next());
            let database = options.database(Part::Relay);
            outbox_relay::start(&pool, &database, transport, &options.relay, &name, clock, tasks);
        }
        if options.has(Part::Workers) {
            let pool = options.pool(Part::Workers).await?;
            checks.push(Check::database(&pool));
            let name = format!("workers-{}", ids.next());
            let (callbacks, own) = workers::start(&pool, transport, &options.workers, &name, clock, ids, tasks).await?;
            router = router.merge(callbacks);
            checks.extend(own);
        }
        if options.has(Part::Query) {
            let pools = query::Pools::connect(&options.database(Part::Query), None, &options.query).await?;
            checks.extend(pools.checks());
            let invoices = storage::open(&options.workers.store.invoice_store_url).await?;
            let name = format!("query-{}", ids.next());
            let access = Access::start(&options.access, address, pools.of_commands(), clock, tasks).await?;
            let settings = &options.query;
            router = router.merge(query::start(pools, invoices, settings, clock.clone(), name, &access, tasks));
        }
        if options.has(Part::Operations) {
            let pool = options.pool(Part::Operations).await?;
            checks.push(Check::database(&pool));
            let access = Access::start(&options.access, address, &pool, clock, tasks).await?;
            let seals = options.operations.seal_store_url.as_deref();
            operations::seal::start(&options.seal, seals, &pool, &options.clock, tasks).await?;
            operations::write::bulk::run(&pool, tasks);
            operations::figures::run(&pool, tasks);
            router = router.merge(options.operations(pool, &access, tasks).await?);
        }
        Ok((router, checks))
    }

    /// Returns when the system is asked to stop, or when one of its tasks has failed.
    pub async fn ended(&self) {
        tokio::select! {
            () = self.tasks.shutdown.cancelled() => {}
            () = self.gateway.shutdown.cancelled() => {}
        }
    }

    /// Stops after the running tasks have finished.
    ///
    /// # Errors
    /// A task has failed, or did not stop in time.
    pub async fn stop(self) -> Result<()> {
        let drained = self.tasks.drain(DRAIN).await;
        drained.and(self.gateway.drain(DRAIN).await)
    }
}
