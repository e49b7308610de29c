//! The pool, and the only way to run a transaction.

mod session;
mod loss;

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::PgPoolOptions;
use sqlx::postgres::types::PgInterval;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::time::timeout;
use tracing::Instrument;

use crate::config::DatabaseConfig;
use crate::faults;

pub use loss::{ends_connection, interrupts, is_unavailable, is_untranslatable, note_loss};

use session::{Access, Session};

/// A connection that was idle for this long is tested before it is used again.
const TEST_AFTER_IDLE: Duration = Duration::from_millis(500);
/// How long that test may take. A connection that the network has forgotten does not answer, and would use up the whole
/// time for which the caller waits, although a new connection is quick to open.
const TEST_WITHIN: Duration = Duration::from_secs(1);
/// How much longer than the server's own limit a statement may take before the connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest statement time-out of this process's pools, in milliseconds.
static STATEMENT_TIMEOUT_MS: AtomicU64 = AtomicU64::new(0);

/// Opens a pool whose connections act as `role`, and waits for the first one.
///
/// Each new connection is checked: the server has taken its options and accepts writes.
pub async fn connect(config: &DatabaseConfig, role: Option<&str>, application_name: &str) -> anyhow::Result<PgPool> {
    pool(config, Session::new(config, role, application_name, Access::Write)?).await
}

/// As [`connect`], for a process: every connection begins with the statement `admission`. The database refuses it to a
/// program that must not use it.
pub async fn connect_admitted(
    config: &DatabaseConfig,
    role: &str,
    application_name: &str,
    admission: &'static str,
) -> anyhow::Result<PgPool> {
    let session = Session::new(config, Some(role), application_name, Access::Write)?;
    pool(config, session.admitted_by(admission)).await
}

/// The same for a program that can do without writing: the server may be a standby.
pub async fn connect_to_read(config: &DatabaseConfig, role: &str, application_name: &str) -> anyhow::Result<PgPool> {
    pool(config, Session::new(config, Some(role), application_name, Access::Read)?).await
}

async fn pool(config: &DatabaseConfig, session: Session) -> anyhow::Result<PgPool> {
    let limit = u64::try_from(config.statement_timeout.as_millis()).unwrap_or(u64::MAX);
    STATEMENT_TIMEOUT_MS.fetch_max(limit, Ordering::Relaxed);
    // Boxed, because every `main` would carry its large future.
    Box::pin(session.wait_for_server()).await?;
    let options = session.options.clone();
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move { session.check(connection).await })
        })
        // A ping before every use would cost a round trip on the hot path. A connection that was idle can afford one.
        // After a restart of the database all of them were idle, and without the ping each would fail once.
        .test_before_acquire(false)
        .before_acquire(|connection, used| Box::pin(is_usable(connection, used)))
        .after_release(|connection, _| Box::pin(end_transaction(connection)))
        .connect_lazy_with(options))
}

/// Opens one connection outside the pool, which acts as `role`.
pub async fn connection(config: &DatabaseConfig, role: &str, application_name: &str) -> anyhow::Result<PgConnection> {
    Ok(Session::new(config, Some(role), application_name, Access::Write)?.open().await?)
}

async fn is_usable(connection: &mut PgConnection, used: PoolConnectionMetadata) -> sqlx::Result<bool> {
    if loss::is_lost(used.age) {
        return Ok(false);
    }
    test_after_rest(connection, used.idle_for).await?;
    Ok(true)
}

/// Pings a connection that was idle for half a second or longer, and waits for at most a second.
///
/// # Errors
/// The connection does not answer: close it and take another one.
pub async fn test_after_rest(connection: &mut PgConnection, idle_for: Duration) -> sqlx::Result<()> {
    if idle_for < TEST_AFTER_IDLE {
        return Ok(());
    }
    within(TEST_WITHIN, connection.ping()).await
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
pub fn limited<T, E: From<sqlx::Error> + 'static>(
    work: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, E>> {
    let limit = Duration::from_millis(STATEMENT_TIMEOUT_MS.load(Ordering::Relaxed)).saturating_add(ANSWER_WITHIN);
    within(limit, work).map(|ended| ended.inspect_err(loss::note_any))
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

    #[tokio::test]
    async fn an_invalid_address_is_reported_without_its_password() {
        let config = DatabaseConfig { database_url: "mysql//user:hush@db".into(), ..DatabaseConfig::default() };
        let error = connect(&config, None, "test").await.expect_err("no address");
        let text = format!("{error:#}");
        assert!(text.starts_with("DATABASE_URL is not a Postgres address") && !text.contains("hush"), "{text}");
    }
}
