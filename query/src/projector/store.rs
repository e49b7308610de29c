//! The statements that write the read models: one per table and batch.
//!
//! Documents first, guarded by their version. Then the facts and lines that reports add up, only for the documents that were
//! written. The transaction holds the row of a document until it ends, so the facts need no guard of their own.

mod orders;
mod returns;
mod issued;
mod refunds;
mod history;
mod search;

use chrono::{DateTime, Utc};
use contracts::Queue;
use sqlx::{PgConnection, PgPool};

use super::batch::Batch;

/// Which copy of the read models is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Models {
    /// The tables that the API reads.
    Live,
    /// The same tables in the schema `read_next`, which a rebuild fills.
    Rebuilt,
}

/// A statement over one table of the chosen copy: `insert into "<table>" "<rest>"` or `select <column> from "<table>" "<rest>"`.
/// The macro only puts the schema before the table; `sqlx` checks both statements.
macro_rules! query_models {
    ($models:expr, $query:ident.$run:ident($conn:expr),
        insert into $table:literal $rest:literal $(, $argument:expr)* $(,)?) => {
        match $models {
            Models::Live => sqlx::$query!("insert into read." + $table + $rest $(, $argument)*).$run($conn).await,
            Models::Rebuilt => sqlx::$query!("insert into read_next." + $table + $rest $(, $argument)*).$run($conn).await,
        }
    };
    ($models:expr, $query:ident.$run:ident($conn:expr),
        select $column:literal from $table:literal $rest:literal $(, $argument:expr)* $(,)?) => {
        match $models {
            Models::Live => {
                sqlx::$query!("select " + $column + " from read." + $table + $rest $(, $argument)*).$run($conn).await
            }
            Models::Rebuilt => {
                sqlx::$query!("select " + $column + " from read_next." + $table + $rest $(, $argument)*).$run($conn).await
            }
        }
    };
}
use query_models;

/// One column of some rows.
fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// An e-mail address as it is looked up: its letters' case does not count.
fn email(address: Option<&str>) -> Option<String> {
    address.map(str::to_lowercase)
}

/// Whole seconds between two instants, if both are known. Never negative: the instants may come from two clocks.
fn seconds(since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Option<i32> {
    let spent = (until? - since?).num_seconds().max(0);
    Some(i32::try_from(spent).unwrap_or(i32::MAX))
}

/// Writes a batch, inside the caller's transaction. The order of the tables is always the same: see `Newest`.
pub(crate) async fn write(conn: &mut PgConnection, models: Models, batch: &Batch<'_>) -> sqlx::Result<()> {
    if !batch.orders.is_empty() {
        orders::write(conn, models, &batch.orders).await?;
    }
    if !batch.returns.is_empty() {
        returns::write(conn, models, &batch.returns).await?;
    }
    if !batch.invoices.is_empty() {
        issued::write_invoices(conn, models, &batch.invoices).await?;
    }
    if !batch.credit_notes.is_empty() {
        issued::write_credit_notes(conn, models, &batch.credit_notes).await?;
    }
    if !batch.refunds.is_empty() {
        refunds::write(conn, models, &batch.refunds).await?;
    }
    if !batch.history.is_empty() {
        history::write(conn, models, &batch.history).await?;
    }
    Ok(())
}

/// Whether an operator has paused the queue.
pub(super) async fn is_paused(messaging: &PgPool, queue: Queue) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select paused_at is not null as "paused!" from messaging.queues where name = $1"#,
        queue.as_str()
    )
    .fetch_one(messaging)
    .await
}

/// Whether a rebuild needs the batch too. The lock is held until the transaction ends, so a rebuild that starts or ends waits
/// for this batch. `for key share` reads the newest version of the row, and does not block the heartbeat of a running rebuild.
pub(super) async fn is_rebuild_running(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select until > clock_timestamp() as "alive!" from read.rebuild for key share"#)
        .fetch_one(conn)
        .await
}
