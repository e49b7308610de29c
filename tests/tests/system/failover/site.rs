//! A shop on a server that has a replica. Its processes reach the database by an address that can lead to either.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use access::Access;
use anyhow::{Context, Result};
use contracts::OrderDocument;
use embedded::postgres::{self, PrivateCluster};
use messaging::TransportConfig;
use operations::audit::{Report, Rule, Scope, Sources, audit};
use runtime::config::DatabaseConfig;
use runtime::{Clock, Tasks, database};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use standalone::{Options, Part, Running};
use tempfile::TempDir;
use tests::faults::proxy::{Direction, Mode, Proxy};
use tests::waiting::SOON;
use tests::{Api, Database, eventually, services, shop};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "articurated";
/// The promise: from the moment at which the new server accepts writes.
const GOES_ON_WITHIN: Duration = Duration::from_secs(10);

fn to(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

async fn pool(cluster: &PrivateCluster) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(4).connect(&cluster.url(DATABASE)).await?)
}

/// A server and its streaming replica.
pub(super) struct Servers {
    pub(super) primary: PrivateCluster,
    pub(super) replica: PrivateCluster,
    /// Leads the processes to the database.
    address: Proxy,
    /// Leads the replica to its primary.
    link: Proxy,
    /// The superuser's pool on the server that is the database now.
    pub(super) pool: PgPool,
}

impl Servers {
    pub(super) async fn start(name: &str) -> Result<Self> {
        let options = |which: &str| {
            let folder = services::folder(&format!("failover-{name}-{which}"))?;
            anyhow::Ok(postgres::Options { fresh: true, ..postgres::Options::new(folder) })
        };
        let primary = PrivateCluster::start(options("primary")?).await?;
        primary.create_database(DATABASE).await?;
        standalone::private::migrate(&primary.url(DATABASE).into()).await?;
        let (address, link) = (Proxy::start(to(primary.port()), 1).await?, Proxy::start(to(primary.port()), 2).await?);
        let upstream = primary.upstream().through(link.address().port());
        let replica = upstream.replicate(options("replica")?).await?;
        primary.upstream().caught_up(SOON).await?;
        let pool = pool(&primary).await?;
        Ok(Self { primary, replica, address, link, pool })
    }

    /// The database as the processes reach it.
    fn config(&self) -> DatabaseConfig {
        let direct = format!("127.0.0.1:{}/", self.primary.port());
        let url = self.primary.url(DATABASE).replace(&direct, &format!("{}/", self.address.address()));
        DatabaseConfig { database_url: url.into(), ..DatabaseConfig::default() }
    }

    pub(super) async fn pool_as(&self, role: &str) -> Result<PgPool> {
        database::connect(&self.config(), Some(role), "test").await
    }

    /// The superuser's pool on the replica, which can be read before it is promoted.
    pub(super) async fn replica_pool(&self) -> Result<PgPool> {
        pool(&self.replica).await
    }

    /// The replica gets nothing from now on. Neither side is told.
    pub(super) fn cut_off_the_replica(&self) {
        self.link.set(Mode::Blackhole(Direction::ToClient));
    }

    /// The replica takes the place of its primary. Returns when it accepted writes.
    pub(super) async fn promote(&mut self) -> Result<Instant> {
        self.replica.promote().await?;
        let there = Instant::now();
        self.address.lead_to(to(self.replica.port()));
        self.pool = pool(&self.replica).await?;
        Ok(there)
    }
}

/// The processes of a shop.
pub(super) struct Site {
    pub(super) api: Api,
    gateway: Api,
    /// Leads the workers to the gateway.
    pub(super) gateway_link: Proxy,
    /// Where the read models are, if not in the database.
    read: Option<Database>,
    transport: TransportConfig,
    projector: Tasks,
    running: Running,
    gateway_running: Running,
    folder: TempDir,
}

impl Site {
    /// Starts these parts, and a gateway.
    pub(super) async fn open(servers: &Servers, parts: &[Part], transport: TransportConfig) -> Result<Self> {
        let url = || servers.config().database_url;
        let mut gateway = Options::new(url());
        gateway.parts = vec![Part::Gateway];
        let gateway_running = standalone::start(gateway).await?;
        let gateway_port = gateway_running.gateway_url.rsplit_once(':').context("a port")?.1.parse()?;
        let gateway_link = Proxy::start(to(gateway_port), 3).await?;

        let folder = tempfile::tempdir()?;
        let mut options = Options::new(url());
        options.parts = parts.to_vec();
        options.transport = transport.clone();
        options.workers.gateway_url = format!("http://{}", gateway_link.address());
        options.workers.store.invoice_store_url = folder.path().join("invoices").display().to_string();
        options.workers.retries.refund_retry = Duration::from_millis(40);
        let running = standalone::start(options).await?;
        Ok(Self {
            api: Api::new(&format!("{}/api/v1", running.base_url))?,
            gateway: Api::new(&gateway_running.gateway_url)?,
            gateway_link,
            read: None,
            transport,
            projector: Tasks::new(CancellationToken::new()),
            running,
            gateway_running,
            folder,
        })
    }

    /// Starts a projector whose read models are in another database. Returns where it answers.
    pub(super) async fn show_in_another_database(&mut self, servers: &Servers) -> Result<String> {
        let read = Database::new().await?;
        let (settings, clock) = (query::Settings::default(), Clock::system());
        let pools = query::Pools::connect(&servers.config(), Some(&read.config()), &settings).await?;
        let invoices = storage::open(&self.invoices()).await?;
        let name = "query-elsewhere".to_owned();
        let router = query::start(pools, invoices, &settings, clock, name, &Access::unchecked(), &self.projector);
        self.read = Some(read);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    pub(super) fn invoices(&self) -> String {
        self.folder.path().join("invoices").display().to_string()
    }

    /// The other database of the read models.
    pub(super) fn read_config(&self) -> Option<DatabaseConfig> {
        self.read.as_ref().map(Database::config)
    }

    /// The superuser's pool on the database of the read models.
    pub(super) fn read_pool<'a>(&'a self, servers: &'a Servers) -> &'a PgPool {
        self.read.as_ref().map_or(&servers.pool, |read| &read.pool)
    }

    /// The gateway's own ledger: what it has paid for each return.
    pub(super) async fn paid(&self) -> Result<Vec<(String, String)>> {
        let ledger = self.gateway.get("/refunds").await?.expect(200).json();
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let entries = ledger["refunds"].as_array().context("a list")?;
        Ok(entries.iter().map(|entry| (text(entry, "return_id"), text(entry, "transaction_id"))).collect())
    }

    /// Waits until the read models show every event.
    pub(super) async fn shown(&self, servers: &Servers, deadline: Duration) -> Result<()> {
        eventually("the read models show every event", deadline, async || {
            let told: Vec<String> = sqlx::query_scalar(
                "select aggregate_type || aggregate_id || '@' || aggregate_version from messaging.outbox order by 1",
            )
            .fetch_all(&servers.pool)
            .await?;
            let missing: i64 = sqlx::query_scalar(
                "select count(*) from unnest($1::text[]) as told
                 where told not in (select aggregate_type || aggregate_id || '@' || version from read.history)",
            )
            .bind(&told)
            .fetch_one(self.read_pool(servers))
            .await?;
            Ok((missing == 0).then_some(()))
        })
        .await
    }

    /// Commands, relay, workers and projector go on in time: an order gets an answer, its e-mail and its read model.
    pub(super) async fn goes_on(&self, servers: &Servers, there: Instant) -> Result<()> {
        let left = || GOES_ON_WITHIN.saturating_sub(there.elapsed());
        let order: OrderDocument = eventually("commands are answered", left(), async || {
            let answer = self.api.post("/orders", &shop::order()).await;
            Ok(answer.ok().filter(|answer| answer.status == 201).map(|answer| answer.order()))
        })
        .await?;
        eprintln!("the first command was answered after {:.1?}", there.elapsed());
        eventually("events are delivered, and jobs done", left(), async || {
            let done = "select count(*) from messaging.inbox
                        where queue = 'notifications' and aggregate_id = $1 and status = 'done'";
            let done: i64 = sqlx::query_scalar(done).bind(order.id).fetch_one(&servers.pool).await?;
            Ok((done == 1).then_some(()))
        })
        .await?;
        eventually("events are shown", left(), async || {
            let shown = "select count(*) from read.orders where id = $1";
            let shown: i64 = sqlx::query_scalar(shown).bind(order.id).fetch_one(self.read_pool(servers)).await?;
            Ok((shown == 1).then_some(()))
        })
        .await?;
        eprintln!("everything went on after {:.1?}", there.elapsed());
        Ok(())
    }

    /// An audit with everything that it can read.
    pub(super) async fn audit(&self, servers: &Servers, drained: bool) -> Result<Report> {
        let sources = Sources {
            gateway_url: Some(self.gateway_running.gateway_url.clone()),
            invoice_store: Some(self.invoices()),
            query_database_url: self.read.as_ref().map(|read| read.url.clone().into()),
            ..Sources::default()
        };
        let broker = self.transport.rabbitmq_url.is_some();
        Ok(audit(&servers.pool, &Scope { sources, drained, broker }).await?)
    }

    pub(super) async fn close(self) -> Result<()> {
        self.running.stop().await?;
        self.projector.drain(SOON).await?;
        self.gateway_running.stop().await
    }
}

/// What an audit says about a rule.
pub(super) fn said(report: &Report, rule: Rule) -> String {
    report.rules[rule as usize - 1].examples.join("\n")
}

/// The numbers of the rules that an audit found violated.
pub(super) fn violated(report: &Report) -> Vec<u8> {
    report.rules.iter().filter(|rule| rule.violations > 0).map(|rule| rule.rule).collect()
}
