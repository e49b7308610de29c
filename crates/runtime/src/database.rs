//! The pool, and the only way to run a transaction.

use std::io::ErrorKind;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use sqlx::error::DatabaseError;
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::time::timeout;
use tracing::Instrument;

use crate::backoff::Backoff;
use crate::config::DatabaseConfig;
use crate::faults;

/// How long a starting process waits for its database: with compose, both start at the same time.
const FIRST_CONNECTION_WITHIN: Duration = Duration::from_secs(30);
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(1));
const WARN_EVERY: Duration = Duration::from_secs(5);
/// A pooled connection that was idle for this long is tested before it is used again.
const TEST_AFTER_IDLE: Duration = Duration::from_millis(500);
/// How long that test may take. A connection that the network has forgotten does not answer, and would use up the whole
/// time for which the caller waits, although a new connection is quick to open.
const TEST_WITHIN: Duration = Duration::from_secs(1);
/// How much longer than the server's own limit a statement may take before the connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest statement time-out of this process's pools, in milliseconds.
static STATEMENT_TIMEOUT_MS: AtomicU64 = AtomicU64::new(0);
/// A transaction that does nothing for this long is a bug that holds locks.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);

/// Opens a pool whose connections act as `role`, and waits for the first one.
pub async fn connect(config: &DatabaseConfig, role: Option<&str>, application_name: &str) -> anyhow::Result<PgPool> {
    open(config, role, application_name, None).await
}

/// As [`connect`], for a process: every connection begins with the statement `admission`. The database refuses it to a
/// program that must not use it.
pub async fn connect_admitted(
    config: &DatabaseConfig,
    role: &str,
    application_name: &str,
    admission: &'static str,
) -> anyhow::Result<PgPool> {
    open(config, Some(role), application_name, Some(admission)).await
}

async fn open(
    config: &DatabaseConfig,
    role: Option<&str>,
    application_name: &str,
    admission: Option<&'static str>,
) -> anyhow::Result<PgPool> {
    let options = connect_options(config, role, application_name)?;
    let limit = u64::try_from(config.statement_timeout.as_millis()).unwrap_or(u64::MAX);
    STATEMENT_TIMEOUT_MS.fetch_max(limit, Ordering::Relaxed);
    first_connection(&options, admission).await?;
    Ok(PgPoolOptions::new()
        .after_connect(move |connection, _| Box::pin(admit(connection, admission)))
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
        // A ping before every use would cost a round trip on the hot path. A connection that was idle can afford one.
        // After a restart of the database all of them were idle, and without the ping each would fail once.
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for >= TEST_AFTER_IDLE {
                    within(TEST_WITHIN, connection.ping()).await?;
                }
                Ok(true)
            })
        })
        .after_release(|connection, _| Box::pin(end_transaction(connection)))
        .connect_lazy_with(options))
}

/// Opens one connection outside the pool, which acts as `role`.
pub async fn connection(config: &DatabaseConfig, role: &str, application_name: &str) -> anyhow::Result<PgConnection> {
    let options = connect_options(config, Some(role), application_name)?;
    Ok(within(FIRST_CONNECTION_WITHIN, PgConnection::connect_with(&options)).await?)
}

fn connect_options(
    config: &DatabaseConfig,
    role: Option<&str>,
    application_name: &str,
) -> anyhow::Result<PgConnectOptions> {
    let millis = |limit: Duration| limit.as_millis().to_string();
    Ok(PgConnectOptions::from_str(config.database_url.expose_secret())
        .context("DATABASE_URL is not a Postgres address (postgres://user:password@host:port/database)")?
        .application_name(application_name)
        .options(role.map(|role| ("role", role)))
        .options([
            ("statement_timeout", millis(config.statement_timeout)),
            ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION_TIMEOUT)),
        ]))
}

async fn admit(connection: &mut PgConnection, admission: Option<&'static str>) -> sqlx::Result<()> {
    if let Some(admission) = admission {
        connection.execute(sqlx::raw_sql(admission)).await?;
    }
    Ok(())
}

/// Not through the pool, which would retry silently and end with "timed out" instead of the reason.
async fn first_connection(options: &PgConnectOptions, admission: Option<&'static str>) -> anyhow::Result<()> {
    let address = format!("{}:{}", options.get_host(), options.get_port());
    let started = Instant::now();
    let mut warned = started;
    let mut attempt = 0;
    loop {
        attempt += 1;
        // A connection that breaks while it is being closed is retried like one that cannot be opened.
        let connected = async {
            let mut connection = PgConnection::connect_with(options).await?;
            admit(&mut connection, admission).await?;
            connection.close().await
        };
        let Err(error) = within(WARN_EVERY, connected).await else { return Ok(()) };
        if !may_still_come_up(&error) || started.elapsed() >= FIRST_CONNECTION_WITHIN {
            // sqlx's message contains its cause, so the cause is not chained.
            anyhow::bail!("cannot use the database at {address} (DATABASE_URL): {error}");
        }
        if warned.elapsed() >= WARN_EVERY {
            warned = Instant::now();
            tracing::warn!(%error, address, "still waiting for the database");
        }
        tokio::time::sleep(RETRY.delay(attempt)).await;
    }
}

/// Whether the server may still come up: it is not there yet, is going down, or says that it is starting. A wrong
/// password stays wrong.
///
/// When the server hangs up before it has answered anything, sqlx 0.9.0 reports a protocol error ("unexpected response
/// from `SSLRequest`: 0x00").
fn may_still_come_up(error: &sqlx::Error) -> bool {
    /// 57P01 `admin_shutdown`, 57P02 `crash_shutdown`, 57P03 `cannot_connect_now`; 53300 `too_many_connections`.
    const TEMPORARY: [&str; 4] = ["57P01", "57P02", "57P03", "53300"];
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| TEMPORARY.contains(&code.as_ref())),
        _ => false,
    }
}

/// Ends a transaction that a connection may have brought back to the pool.
///
/// sqlx 0.9.0 sends `begin`, waits for the answer, and only then counts the transaction (`transaction_depth` in
/// sqlx-postgres `transaction.rs`). A future dropped in between leaves the depth at 0, so that neither its
/// guard nor `Transaction`'s drop rolls back, and the ping on release only reads the outstanding answer: the
/// next borrower works inside a transaction that is never committed. The status that the server reports with every
/// answer is private to sqlx, so it cannot be looked at; but `begin; rollback` in one simple query costs a
/// round trip without touching data, ends an open transaction, and, unlike a bare `rollback`, makes the server
/// warn only when there really was one. It fails in an aborted transaction, and then the pool
/// closes the connection.
async fn end_transaction(connection: &mut PgConnection) -> sqlx::Result<bool> {
    // A connection that never answers would keep its place in the pool for ever.
    within(ANSWER_WITHIN, connection.execute(sqlx::raw_sql("begin; rollback"))).await?;
    Ok(true)
}

/// Gives up on work that the database has not answered 5 s after its own statement time-out.
///
/// The network can forget a connection (a firewall drops its state, a machine is gone), and then neither the server's
/// statement time-out nor any error ever arrives. A loop over the database that does not use this can hang for ever.
pub fn limited<T, E: From<sqlx::Error>>(
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    let limit = Duration::from_millis(STATEMENT_TIMEOUT_MS.load(Ordering::Relaxed)).saturating_add(ANSWER_WITHIN);
    within(limit, work)
}

/// Gives up on work that has not ended within `limit`, with an error of the connection.
pub fn within<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    timeout(limit, work)
        .map(|ended| ended.unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(ErrorKind::TimedOut.into()).into())))
}

/// Whether the database refused the data itself (SQLSTATE class 22 data exception, 23 constraint, which includes "no
/// partition for this row", 54 limit): a retry would fail again.
pub fn refuses_the_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| ["22", "23", "54"].contains(&code.get(..2).unwrap_or_default()))
}

/// Whether the work took too long: the server cancelled the statement (SQLSTATE 57014 `query_canceled`), or [`within`] gave
/// up on it. The same work would take as long again.
pub fn timed_out(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == ErrorKind::TimedOut,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code == "57014"),
        _ => false,
    }
}

/// Limits each statement of the current transaction, where the limit of the pool is too long.
pub async fn limit_statements(transaction: &mut PgConnection, limit: Duration) -> sqlx::Result<()> {
    let set = sqlx::query("select set_config('statement_timeout', $1, true)").bind(limit.as_millis().to_string());
    set.execute(transaction).await?;
    Ok(())
}

/// A duration as a Postgres interval, in microseconds. sqlx's own conversion refuses nanoseconds.
pub fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

/// Runs `work` in a transaction: commits on `Ok`, rolls back on `Err`.
///
/// Everything from `begin` to `commit` runs in a task of its own. When the caller is dropped (a client hangs up, a
/// time-out), the transaction still ends, and does not stay open in the pool. See `end_transaction` about that leak.
pub async fn in_transaction<T, E, W>(pool: &PgPool, work: W) -> Result<T, E>
where
    W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<sqlx::Error> + Send + 'static,
{
    let pool = pool.clone();
    let transaction = async move {
        let mut transaction = pool.begin().await?;
        match work(&mut transaction).await {
            Ok(value) => {
                faults::point("transaction.ready");
                transaction.commit().await?;
                faults::point("transaction.committed");
                Ok(value)
            }
            Err(error) => {
                // The caller needs the first error; a connection that cannot roll back is closed by the pool.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    };
    match tokio::spawn(limited(transaction).in_current_span()).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(E::from(sqlx::Error::WorkerCrashed)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_says_who_it_is_and_how_long_it_may_take() -> anyhow::Result<()> {
        let options = connect_options(&DatabaseConfig::default(), Some("articurated_query"), "query")?;
        assert_eq!(options.get_application_name(), Some("query"));
        assert_eq!(
            options.get_options(),
            Some("-c role=articurated_query -c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000")
        );
        Ok(())
    }

    #[tokio::test]
    async fn an_invalid_address_is_reported_without_its_password() {
        let config = DatabaseConfig { database_url: "mysql//user:hush@db".into(), ..DatabaseConfig::default() };
        let error = connect(&config, None, "test").await.expect_err("no address");
        let text = format!("{error:#}");
        assert!(text.starts_with("DATABASE_URL is not a Postgres address") && !text.contains("hush"), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_at_once_is_waited_for() -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("postgres://user:hush@{}/x?sslmode=prefer", listener.local_addr()?);
        let refused = PgConnection::connect(&url);
        let hang_up = async {
            use tokio::io::AsyncReadExt;
            let (mut connection, _) = listener.accept().await?;
            connection.read(&mut [0; 64]).await
        };
        let (error, _) = tokio::join!(refused, hang_up);
        let error = error.expect_err("the server hung up");
        assert!(may_still_come_up(&error), "{error:?}");
        Ok(())
    }

    #[test]
    fn only_what_may_still_come_up_is_waited_for() {
        assert!(may_still_come_up(&sqlx::Error::Io(ErrorKind::ConnectionRefused.into())));
        assert!(!may_still_come_up(&sqlx::Error::Configuration("no".into())));
    }
}
