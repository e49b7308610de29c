//! Which errors end a connection, and which connections of the pools end with it.

use std::any::Any;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::error::DatabaseError;

/// The zero of [`LOST_AT`].
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// When a server last said that a connection is of no use, in microseconds since [`START`], plus one. 0: never.
static LOST_AT: AtomicU64 = AtomicU64::new(0);

/// Whether the connection that reported this error must not be used again.
///
/// The server may have said that it is no use: it is about to go, it cannot reach its files, or it has become a standby.
/// A new connection may reach another server or a healthy one. After an error that did not come from the server the
/// answer may be half read, so the state of the connection is unknown.
///
/// The owner of a connection that is kept from one piece of work to the next asks this function. The pools learn of such
/// errors by [`note_loss`].
pub fn ends_connection(error: &sqlx::Error) -> bool {
    error.as_database_error().is_none_or(|error| error.code().is_some_and(|code| is_loss(&code)))
}

/// SQLSTATE: 25006 `read_only_sql_transaction`, 57P0x (shutdown, crash, starting, database dropped, idle for too long),
/// class 08 connection exception, class 58 system error.
fn is_loss(sqlstate: &str) -> bool {
    sqlstate == "25006" || ["08", "57P0", "58"].iter().any(|class| sqlstate.starts_with(class))
}

/// Whether the same work may succeed in a moment: no free connection, a broken connection, a server that starts,
/// stops or is a standby, a deadlock, a statement over its time limit.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient(&code)),
        // A connection that ends while it is being opened: sqlx takes the end for an answer.
        sqlx::Error::Protocol(text) => text.contains("SSLRequest"),
        _ => false,
    }
}

/// Whether a text of a client had a character that Postgres cannot store: U+0000.
pub fn is_untranslatable(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| code == "22021"))
}

/// `SQLSTATE` classes of the Postgres manual, appendix A.
fn is_transient(sqlstate: &str) -> bool {
    let insufficient_resources = sqlstate.starts_with("53");
    let operator_intervention = sqlstate.starts_with("57");
    let serialization_or_deadlock = matches!(sqlstate, "40001" | "40P01");
    let lock_not_available = sqlstate == "55P03";
    is_loss(sqlstate)
        || insufficient_resources
        || operator_intervention
        || serialization_or_deadlock
        || lock_not_available
}

/// Whether the work was interrupted by something that is not in it: no connection, no answer, a server that goes, a deadlock.
/// Unlike [`is_unavailable`], a statement over one of its time limits is not: it would take as long again.
pub fn interrupts(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    is_unavailable(error) && !code.is_some_and(|code| ["57014", "55P03"].contains(&&*code))
}

/// Ends every pooled connection of this process that is older than this error, if the server has said that a connection
/// is of no use. The error does not say on which connection it happened, and what happened to one has often happened to
/// all. [`limited`](super::limited) and the conversion to [`ApiError`](crate::ApiError) call this.
pub fn note_loss(error: &sqlx::Error) {
    if error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| is_loss(&code)) {
        LOST_AT.fetch_max(micros(START.elapsed()) + 1, Ordering::Relaxed);
    }
}

/// The same for work that may fail with another error.
pub(super) fn note_any<E: 'static>(error: &E) {
    if let Some(error) = (error as &dyn Any).downcast_ref() {
        note_loss(error);
    }
}

/// Whether a pooled connection of this age was opened before the last loss.
pub(super) fn is_lost(age: Duration) -> bool {
    let lost_at = LOST_AT.load(Ordering::Relaxed);
    lost_at > 0 && micros(START.elapsed().saturating_sub(age)) < lost_at
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_while_it_is_opened_may_succeed_in_a_moment() {
        let ended = "unexpected response from SSLRequest: 0x00 (sqlx_postgres::connection::tls:95)";
        assert!(is_unavailable(&sqlx::Error::Protocol(ended.to_owned())));
        assert!(!is_unavailable(&sqlx::Error::Protocol("no such message".to_owned())));
    }

    #[test]
    fn the_server_says_when_a_connection_is_lost() {
        for (sqlstate, lost) in [
            ("25006", true),
            ("57P01", true),
            ("57P05", true),
            ("08006", true),
            ("58030", true),
            ("57014", false),
            ("25P02", false),
            ("55P03", false),
            ("40P01", false),
            ("23505", false),
        ] {
            assert_eq!(is_loss(sqlstate), lost, "{sqlstate}");
        }
    }

    #[test]
    fn a_timed_out_statement_is_not_interrupted() {
        let reset = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let unanswered = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        for error in [reset(), unanswered(), sqlx::Error::PoolTimedOut] {
            assert!(interrupts(&error), "{error}");
        }
        assert!(!interrupts(&sqlx::Error::RowNotFound));
    }

    #[test]
    fn what_may_succeed_in_a_moment() {
        for (sqlstate, transient) in [
            ("57P01", true),
            ("57P03", true),
            ("57014", true),
            ("08006", true),
            ("53300", true),
            ("25006", true),
            ("58030", true),
            ("40P01", true),
            ("23505", false),
            ("42601", false),
            ("22021", false),
        ] {
            assert_eq!(is_transient(sqlstate), transient, "{sqlstate}");
        }
    }

    #[test]
    fn after_half_an_answer_a_connection_is_lost() {
        assert!(ends_connection(&sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())));
        assert!(ends_connection(&sqlx::Error::RowNotFound));
    }
}
