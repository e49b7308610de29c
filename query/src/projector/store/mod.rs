//! The statements that write the read models: one per table and batch.
//!
//! Documents first, guarded by their version; then the facts and lines that reports add up, for those documents alone
//! that were written. Whoever writes a document holds its row until the end, so its facts need no guard of their own.

mod history;
mod issued;
mod orders;
mod refunds;
mod returns;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::batch::Batch;

/// Which read models are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Models {
    /// Those that are read.
    Live,
    /// Those that a rebuild makes beside them: the same tables in the schema `read_next`.
    Rebuilt,
}

/// A statement over one table of the read models: its text up to the schema's name, and after. `sqlx` checks both.
macro_rules! over {
    ($models:expr, $query:ident.$run:ident($conn:expr), $before:literal, $after:literal $(+ $more:literal)* $(, $argument:expr)* $(,)?) => {
        match $models {
            Models::Live => sqlx::$query!($before + "read" + $after $(+ $more)* $(, $argument)*).$run($conn).await,
            Models::Rebuilt => sqlx::$query!($before + "read_next" + $after $(+ $more)* $(, $argument)*).$run($conn).await,
        }
    };
}
use over;

/// One column of some rows.
fn column<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Whole seconds from one to the other, if both are known; two clocks may disagree about which came first.
fn seconds(since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Option<i32> {
    let spent = (until? - since?).num_seconds().max(0);
    Some(i32::try_from(spent).unwrap_or(i32::MAX))
}

/// Writes a batch, inside the caller's transaction. Always in this order of tables: see `Newest`.
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
