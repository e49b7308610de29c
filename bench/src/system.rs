//! The system under test: databases on a private Postgres with the settings of all our private ones, and parts of the system
//! on them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use embedded::postgres::{Options, PrivateCluster};
use messaging::TransportConfig;
use runtime::config::DatabaseConfig;
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use standalone::Part;
use tokio::process::Command;

use crate::pgbench::Pgbench;
use crate::{load, requests};

/// Orders or events that one statement seeds.
const SEED_CHUNK: u64 = 10_000;

/// As many as `standalone` gives the workers.
const WORKER_CONNECTIONS: u32 = 12;

/// The folder of everything but the results; removed after the run.
const RUN: &str = "run";

/// The private Postgres and the folder of the run.
#[derive(Debug)]
pub(crate) struct System {
    cluster: PrivateCluster,
    folder: PathBuf,
}

/// A migrated database; [`drop`](Self::drop) frees its disk space for the next.
#[derive(Debug)]
pub(crate) struct Database {
    name: &'static str,
    pub(crate) url: String,
    pub(crate) pool: PgPool,
}

impl Database {
    /// A pool as the workers have it.
    pub(crate) async fn workers(&self) -> Result<PgPool> {
        let database_url = self.url.clone().into();
        let config = DatabaseConfig { database_url, max_connections: WORKER_CONNECTIONS, ..DatabaseConfig::default() };
        let admission = schema::admission_for_loops();
        runtime::database::connect_admitted(&config, "articurated_workers", "bench workers", admission).await
    }
}

impl System {
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        Self::open(&folder.join(RUN), true).await
    }

    /// Starts in exactly this folder, with what an earlier run has left there unless it is to be `fresh`.
    pub(crate) async fn open(folder: &Path, fresh: bool) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let options = Options { fresh, ..Options::new(folder.join("postgres")) };
        Ok(Self { cluster: PrivateCluster::start(options).await?, folder })
    }

    /// Runs what takes long, on a Postgres that measures each statement, and writes what it has measured to a file of this name. The
    /// database stays in the folder `keep`, if there is one.
    pub(crate) async fn run_long(
        folder: &Path,
        keep: Option<&Path>,
        file: &str,
        measure: impl AsyncFnOnce(&Self) -> Result<Value>,
    ) -> Result<()> {
        let place = keep.map_or_else(|| folder.join(RUN), Path::to_path_buf);
        let mut system = Self::open(&place, keep.is_none()).await?;
        system.measure_statements().await?;
        let measured = measure(&system).await;
        if keep.is_some() {
            system.leave().await;
        } else {
            system.stop().await?;
        }
        fs::create_dir_all(folder)?;
        let file = folder.join(file);
        fs::write(&file, serde_json::to_string_pretty(&measured?)? + "\n")?;
        println!("\n{}", file.display());
        Ok(())
    }

    /// Lets Postgres measure each statement; restarts it for that.
    pub(crate) async fn measure_statements(&mut self) -> Result<()> {
        self.restart_after("alter system set shared_preload_libraries = 'pg_stat_statements'").await
    }

    /// Whether Postgres notes when each transaction is committed; restarts it for that.
    pub(crate) async fn note_commits(&mut self, noted: bool) -> Result<()> {
        let set = if noted { "set track_commit_timestamp = on" } else { "reset track_commit_timestamp" };
        self.restart_after(&format!("alter system {set}")).await
    }

    async fn restart_after(&mut self, change: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.cluster.url("postgres")).await?;
        sqlx::raw_sql(AssertSqlSafe(change)).execute(&mut connection).await?;
        connection.close().await?;
        self.cluster.restart().await
    }

    /// Stops Postgres. The folder stays.
    pub(crate) async fn leave(self) {
        self.cluster.stop().await;
    }

    /// Stops Postgres and removes the folder of the run.
    pub(crate) async fn stop(self) -> Result<()> {
        self.cluster.stop().await;
        Ok(fs::remove_dir_all(self.folder)?)
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An empty, migrated database with the partitions of a system that has run for its whole retention, because statements
    /// look into each partition.
    pub(crate) async fn database(&self, name: &'static str) -> Result<Database> {
        self.cluster.drop_database(name).await?;
        self.kept_database(name).await
    }

    /// The same, but a database of an earlier run stays as it is.
    pub(crate) async fn kept_database(&self, name: &'static str) -> Result<Database> {
        if !self.cluster.database_exists(name).await? {
            self.cluster.create_database(name).await?;
        }
        let url = self.cluster.url(name);
        standalone::private::migrate(&url.clone().into()).await?;
        let pool = PgPoolOptions::new().max_connections(8).connect(&url).await?;
        let whole_retention =
            "select messaging.ensure_partitions(interval '90 days', interval '14 days', interval '11 days')";
        sqlx::query(whole_retention).execute(&pool).await?;
        Ok(Database { name, url, pool })
    }

    pub(crate) async fn postgres_version(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.cluster.url("postgres")).await?;
        let version = sqlx::query_scalar("show server_version").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(version)
    }

    /// `pgbench` with a script on a database.
    pub(crate) fn pgbench(&self, database: &Database, script: &'static str, clients: u32) -> Result<Pgbench> {
        let server = fs::read_link(format!("/proc/{}/exe", self.cluster.pid()))?;
        let program = server.with_file_name("pgbench");
        ensure!(program.exists(), "{} is missing: Debian has it in the package postgresql", program.display());
        Ok(Pgbench::new(program, database.url.clone(), script, clients))
    }

    /// Runs parts of the system on a database while `work` runs, which gets their address.
    pub(crate) async fn during<T>(
        &self,
        database: &Database,
        parts: &[Part],
        transport: TransportConfig,
        work: impl AsyncFnOnce(SocketAddr) -> Result<T>,
    ) -> Result<T> {
        Self::run(standalone::Options { transport, ..self.options(database, parts) }, work).await
    }

    /// Parts of the system on a database, with their default settings.
    pub(crate) fn options(&self, database: &Database, parts: &[Part]) -> standalone::Options {
        let mut options =
            standalone::Options { parts: parts.to_vec(), ..standalone::Options::new(database.url.clone()) };
        options.workers.store.invoice_store_url = self.folder("invoices").display().to_string();
        options
    }

    /// The same as [`options`](Self::options), where no job of documents and e-mails has an effect.
    pub(crate) fn options_without_effects(&self, database: &Database, parts: &[Part]) -> standalone::Options {
        let mut options = self.options(database, parts);
        options.workers.chooses = Some(|_| false);
        options
    }

    /// Runs the system that `options` describes while `work` runs, which gets its address.
    pub(crate) async fn run<T>(
        options: standalone::Options,
        work: impl AsyncFnOnce(SocketAddr) -> Result<T>,
    ) -> Result<T> {
        let running = standalone::start(options).await?;
        let address = running.base_url.trim_start_matches("http://").parse()?;
        let outcome = work(address).await;
        // Stops even after a failure: the next measurement needs the whole machine.
        let stopped = running.stop().await;
        let outcome = outcome?;
        stopped.map(|()| outcome)
    }

    /// An order that the system itself has placed, as a template for the seeded ones.
    pub(crate) async fn sample_order(&self) -> Result<Value> {
        self.sample(&requests::place()).await
    }

    /// The smallest such order.
    pub(crate) async fn small_sample_order(&self) -> Result<Value> {
        self.sample(&requests::place_small()).await
    }

    async fn sample(&self, request: &[u8]) -> Result<Value> {
        let database = self.database("sample").await?;
        let placed = async |address| load::ask(address, request, 201).await;
        let order = self.during(&database, &[Part::Command], TransportConfig::default(), placed).await?;
        self.drop(database).await?;
        Ok(serde_json::from_slice(&order)?)
    }

    pub(crate) async fn drop(&self, database: Database) -> Result<()> {
        database.pool.close().await;
        self.cluster.drop_database(database.name).await
    }
}

impl Database {
    /// Seeds orders 1 to `orders`, ready to be paid.
    pub(crate) async fn seed_orders(&self, sample: &Value, orders: u64) -> Result<()> {
        self.seed(include_str!("../sql/seed.sql"), sample, orders).await
    }

    /// Seeds orders 1 to `orders` of the read model.
    pub(crate) async fn seed_read_model(&self, sample: &Value, orders: u64) -> Result<()> {
        self.seed(include_str!("../sql/seed_read.sql"), sample, orders).await
    }

    /// Seeds events 1 to `events` of the outbox.
    pub(crate) async fn seed_outbox(&self, sample: &Value, events: u64) -> Result<()> {
        let mut connection = self.pool.acquire().await?;
        for first in (1..=events).step_by(usize::try_from(SEED_CHUNK)?) {
            let last = events.min(first + SEED_CHUNK - 1);
            append_events(&mut connection, sample, (first, last), Duration::ZERO).await?;
        }
        sqlx::raw_sql("vacuum analyze").execute(&mut *connection).await?;
        Ok(())
    }

    /// Seeds the facts and lines that reports add up, for orders 1 to `orders`.
    pub(crate) async fn seed_reports(&self, orders: u64) -> Result<()> {
        self.seed(include_str!("../sql/seed_reports.sql"), &Value::Null, orders).await
    }

    /// Seeds orders 1 to `orders` as lists show them, with what belongs to them.
    pub(crate) async fn seed_lists(&self, sample: &Value, orders: u64) -> Result<()> {
        self.seed(include_str!("../sql/seed_lists.sql"), sample, orders).await
    }

    async fn seed(&self, statement: &'static str, sample: &Value, count: u64) -> Result<()> {
        for first in (1..=count).step_by(usize::try_from(SEED_CHUNK)?) {
            let last = count.min(first + SEED_CHUNK - 1);
            sqlx::query(statement)
                .bind(sample)
                .bind(i64::try_from(first)?)
                .bind(i64::try_from(last)?)
                .execute(&self.pool)
                .await
                .context("cannot seed")?;
        }
        sqlx::raw_sql("vacuum analyze").execute(&self.pool).await?;
        Ok(())
    }

    /// Creates what the textbook scripts need besides the tables.
    pub(crate) async fn add_helpers(&self) -> Result<()> {
        sqlx::raw_sql(include_str!("../sql/helpers.sql")).execute(&self.pool).await?;
        Ok(())
    }

    /// Each measured phase starts right after a checkpoint, so that it does not write the pages of an earlier one.
    pub(crate) async fn settle(&self) -> Result<()> {
        sqlx::raw_sql("checkpoint").execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn outbox_rows(&self) -> Result<u64> {
        let rows: i64 = sqlx::query_scalar("select count(*) from messaging.outbox").fetch_one(&self.pool).await?;
        Ok(u64::try_from(rows)?)
    }
}

/// Appends events `first` to `last` of a backlog to the outbox, so many seconds after they have occurred. See
/// `seed_outbox.sql`.
pub(crate) async fn append_events(
    connection: &mut PgConnection,
    sample: &Value,
    range: (u64, u64),
    age: Duration,
) -> Result<()> {
    append_events_over_time(connection, sample, range, (age, Duration::ZERO)).await
}

/// The same, where each event has occurred so long after the one before it. `age` is that of the first.
pub(crate) async fn append_events_over_time(
    connection: &mut PgConnection,
    sample: &Value,
    (first, last): (u64, u64),
    (age, between): (Duration, Duration),
) -> Result<()> {
    sqlx::query(include_str!("../sql/seed_outbox.sql"))
        .bind(sample)
        .bind(i64::try_from(first)?)
        .bind(i64::try_from(last)?)
        .bind(age.as_secs_f64())
        .bind(between.as_secs_f64())
        .execute(connection)
        .await
        .context("cannot append events")?;
    Ok(())
}

/// A program that the kernel ends when this process ends, even by a crash.
pub(crate) fn bound_to_us(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program.as_ref()).kill_on_drop(true);
    command
}

/// A counter of the parts that run in this process, by its name and labels. It is 0 until it is first incremented.
pub(crate) fn counter(name: &str) -> Result<u64> {
    let text = runtime::metrics::render();
    let count = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    count.map_or(Ok(0), |count| count.trim().parse().context("a counter is a number"))
}

/// The sum of all series of a counter whose labels contain `label`.
pub(crate) fn counters(name: &str, label: &str) -> Result<u64> {
    let text = runtime::metrics::render();
    let series = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && line.contains(label));
    series.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>().context("a counter is a number")).sum()
}

/// Measures the limit, ours, and the limit again: the two limits show whether the machine changed meanwhile.
pub(crate) async fn between_limits<T>(
    limit: impl AsyncFn() -> Result<f64>,
    ours: impl AsyncFnOnce() -> Result<T>,
) -> Result<(Vec<f64>, T)> {
    let before = limit().await?;
    let ours = ours().await?;
    Ok((vec![before, limit().await?], ours))
}

#[cfg(test)]
mod tests {
    use contracts::{OrderDocument, ReturnDocument};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_seed_fits_the_schema() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let system = System::start(folder.path()).await?;
        let sample = system.sample_order().await?;
        let database = system.database("ours").await?;
        database.seed_orders(&sample, 20).await?;
        database.seed_read_model(&sample, 20).await?;
        database.seed_outbox(&sample, 20).await?;
        database.seed_reports(20).await?;
        database.add_helpers().await?;
        sqlx::raw_sql(include_str!("../sql/rebuild.sql")).execute(&database.pool).await?;
        system.drop(database).await?;
        let database = system.database("lists").await?;
        database.seed_lists(&sample, 100).await?;
        let listed =
            |table: &str| sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("select count(*) from read.{table}")));
        for (table, rows) in [("orders", 100), ("search", 100), ("invoices", 90), ("returns", 10), ("credit_notes", 10)]
        {
            assert_eq!(listed(table).fetch_one(&database.pool).await?, rows, "{table}");
        }
        let documents = |table: &str| {
            sqlx::query_scalar::<_, String>(AssertSqlSafe(format!("select document::text from read.{table}")))
        };
        for order in documents("orders").fetch_all(&database.pool).await? {
            serde_json::from_str::<OrderDocument>(&order).context(order)?;
        }
        for returned in documents("returns").fetch_all(&database.pool).await? {
            serde_json::from_str::<ReturnDocument>(&returned).context(returned)?;
        }
        system.drop(database).await?;
        system.stop().await
    }
}
