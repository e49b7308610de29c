//! A new connection: as whom it acts, how long it may take, and the check that the server agrees.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, Executor, PgConnection};

use super::within;
use crate::backoff::Backoff;
use crate::config::DatabaseConfig;
use crate::tls;

/// How long a starting process waits for its database: with compose, both start at the same time.
const FIRST_CONNECTION_WITHIN: Duration = Duration::from_secs(30);
const RETRY: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(1));
const WARN_EVERY: Duration = Duration::from_secs(5);
/// A transaction that does nothing for this long is a bug that holds locks.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);

/// What a process does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    /// A standby will do.
    Read,
}

fn warn_without_tls(options: &PgConnectOptions) {
    let is_open = matches!(options.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
    if is_open && options.get_socket().is_none() {
        tls::warn_without("database", options.get_host(), "add ?sslmode=verify-full to its URL");
    }
}

/// What each connection of a pool has in common.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) options: PgConnectOptions,
    role: Option<String>,
    statement_timeout: Duration,
    access: Access,
    /// With which a process introduces itself.
    admission: Option<&'static str>,
}

impl Session {
    pub(super) fn new(
        config: &DatabaseConfig,
        role: Option<&str>,
        application_name: &str,
        access: Access,
    ) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(config.database_url.expose_secret())
            .context("DATABASE_URL is not a Postgres address (postgres://user:password@host:port/database)")?;
        warn_without_tls(&options);
        let options = options.application_name(application_name).options(role.map(|role| ("role", role))).options([
            ("statement_timeout", millis(config.statement_timeout).to_string()),
            ("idle_in_transaction_session_timeout", millis(IDLE_IN_TRANSACTION_TIMEOUT).to_string()),
            // Postgres would compile plans that it expects to be long, those with a limit among them, and take seconds for it.
            ("jit", "off".to_owned()),
        ]);
        Ok(Self {
            options,
            role: role.map(str::to_owned),
            statement_timeout: config.statement_timeout,
            access,
            admission: None,
        })
    }

    /// Every connection begins with this statement.
    pub(super) fn admitted_by(self, admission: &'static str) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// Opens a connection of its own, outside any pool.
    pub(super) async fn open(&self) -> sqlx::Result<PgConnection> {
        let open = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            self.check(&mut connection).await?;
            Ok(connection)
        };
        within(FIRST_CONNECTION_WITHIN, open).await
    }

    /// Asks the server what it has made of the connection's options, and whether it lets the process write.
    ///
    /// A pooler such as PgBouncer may be told to ignore `options`. Then a process would act with all the rights of its
    /// login and without time-outs, and nothing else would show it. A demoted server accepts connections, and every
    /// write on them fails until the client closes them.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let session = "
            select current_user::text, pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool,
                   (extract(epoch from current_setting('statement_timeout')::interval) * 1000)::bigint,
                   (extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval) * 1000)::bigint";
        let (user, reads_only, statement_timeout, idle_timeout): (String, bool, i64, i64) =
            sqlx::query_as(session).persistent(false).fetch_one(&mut *connection).await?;
        if let Some(role) = &self.role {
            took("role", role, &user)?;
        }
        took("statement_timeout", &millis(self.statement_timeout), &statement_timeout)?;
        took("idle_in_transaction_session_timeout", &millis(IDLE_IN_TRANSACTION_TIMEOUT), &idle_timeout)?;
        if reads_only && self.access == Access::Write {
            return Err(Unusable::ReadOnly.into());
        }
        if let Some(admission) = self.admission {
            connection.execute(sqlx::raw_sql(admission)).await?;
        }
        Ok(())
    }

    /// Waits for the first connection. Not through the pool, which would retry silently and end with "timed out" instead
    /// of the reason.
    pub(super) async fn wait_for_server(&self) -> anyhow::Result<()> {
        let address = format!("{}:{}", self.options.get_host(), self.options.get_port());
        let started = Instant::now();
        let mut warned = started;
        let mut attempt = 0;
        loop {
            attempt += 1;
            // A connection that breaks while it is being closed is retried like one that cannot be opened.
            let connected = async { self.open().await?.close().await };
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
}

fn millis(limit: Duration) -> i64 {
    i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)
}

fn took<T: PartialEq + fmt::Display>(name: &'static str, asked: &T, actual: &T) -> sqlx::Result<()> {
    if asked == actual {
        return Ok(());
    }
    Err(Unusable::OptionIgnored { name, asked: asked.to_string(), actual: actual.to_string() }.into())
}

/// Why a connection that was opened is not used.
#[derive(Debug)]
enum Unusable {
    ReadOnly,
    OptionIgnored { name: &'static str, asked: String, actual: String },
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str(
                "the server refuses writes: it is a standby, or default_transaction_read_only is on; promote it, or \
                 let the address lead to the primary",
            ),
            Self::OptionIgnored { name, asked, actual } => write!(
                f,
                "the connection asked for {name} = {asked}, but the server has {actual}: a pooler in between ignores the \
                 connection's options (PgBouncer: ignore_startup_parameters); connect to Postgres itself",
            ),
        }
    }
}

impl std::error::Error for Unusable {}

impl From<Unusable> for sqlx::Error {
    fn from(why: Unusable) -> Self {
        Self::Configuration(why.into())
    }
}

/// Whether the server may still come up: it is not there yet, is going down, says that it is starting, or is a standby
/// that may be promoted. A wrong password stays wrong.
///
/// When the server hangs up before it has answered anything, sqlx 0.9.0 reports a protocol error ("unexpected response
/// from `SSLRequest`: 0x00").
fn may_still_come_up(error: &sqlx::Error) -> bool {
    /// 57P01 `admin_shutdown`, 57P02 `crash_shutdown`, 57P03 `cannot_connect_now`; 53300 `too_many_connections`.
    const TEMPORARY: [&str; 4] = ["57P01", "57P02", "57P03", "53300"];
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| TEMPORARY.contains(&code.as_ref())),
        sqlx::Error::Configuration(error) => matches!(error.downcast_ref(), Some(Unusable::ReadOnly)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_connection_says_who_it_is_and_how_long_it_may_take() -> anyhow::Result<()> {
        let config = DatabaseConfig::default();
        let Session { options, .. } = Session::new(&config, Some("articurated_query"), "query", Access::Write)?;
        assert_eq!(options.get_application_name(), Some("query"));
        assert_eq!(
            options.get_options(),
            Some(
                "-c role=articurated_query -c statement_timeout=30000 -c idle_in_transaction_session_timeout=60000 -c jit=off"
            )
        );
        Ok(())
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
        assert!(may_still_come_up(&Unusable::ReadOnly.into()));
        let ignored = took("role", &"articurated_command", &"root").expect_err("another role");
        assert!(!may_still_come_up(&ignored), "{ignored}");
        assert!(!may_still_come_up(&sqlx::Error::Configuration("no".into())));
    }
}
