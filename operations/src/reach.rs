//! Whether a database can be used, and what to do if not.

use std::io::ErrorKind;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, Error, PgConnection};

/// Longest wait for a connection.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("no answer within {TIMEOUT:?}")]
    Silent,
    // sqlx's message repeats its cause, so the cause is not chained.
    #[error("{}", words(.0))]
    Refused(Error),
}

/// Connects once, and says why when that fails. A pool would retry, and end with "timed out" only.
pub(crate) async fn reach(url: &SecretString) -> Result<(), Unreachable> {
    let reached = tokio::time::timeout(TIMEOUT, PgConnection::connect(url.expose_secret())).await;
    let connection = reached.map_err(|_elapsed| Unreachable::Silent)?.map_err(Unreachable::Refused)?;
    connection.close().await.map_err(Unreachable::Refused)
}

/// The server's own words, or sqlx's.
fn words(error: &Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

impl Unreachable {
    /// What an operator can do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(Error::Configuration(_)) => "give it as postgres://user:password@host:port/database",
            Self::Refused(Error::Database(error)) => match error.code().as_deref() {
                Some("28P01" | "28000") => "correct the user or the password in it",
                Some("3D000") => "correct the name of the database in it, or create the database and migrate it",
                Some("53300") => "all connections are taken: wait, or end some (select * from pg_stat_activity)",
                Some("57P03") => "the server starts or stops: try again in a moment",
                _ => "the server's log says more",
            },
            Self::Refused(Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                "start Postgres, or correct the host and port in it"
            }
            Self::Refused(Error::Tls(_)) => "correct its sslmode, or the certificate of the server",
            Self::Silent | Self::Refused(_) => {
                "correct the host and port in it, and see that the network lets this machine reach them"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_to_do_depends_on_what_is_wrong() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let closed = format!("postgres://ops@127.0.0.1:{port}/shop");
        for (url, remedy) in [(&*closed, "start Postgres"), ("ops at home", "postgres://user:password@")] {
            let error = reach(&SecretString::from(url)).await.expect_err("no database");
            assert!(error.remedy().contains(remedy), "{url}: {error}: {}", error.remedy());
        }
    }
}
