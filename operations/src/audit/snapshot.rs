//! The database at one moment, for as long as the audit takes.

use std::ops::Range;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

/// A transaction that sees the database at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    transaction: Transaction<'static, Postgres>,
    pub(super) at: DateTime<Utc>,
    /// The times whose events are in the outbox, oldest first. There may be gaps: a partition can be settled, and dropped,
    /// before an older one.
    pub(super) kept: Vec<Range<DateTime<Utc>>>,
}

impl Snapshot {
    /// Locks the partitioned tables before it sees anything: a partition that it has seen must not be detached before it is read.
    pub(super) async fn begin(pool: &PgPool) -> sqlx::Result<Self> {
        let mut transaction = open(pool, None).await?;
        let lock = "lock table messaging.outbox, messaging.inbox, messaging.claims, messaging.relay_batches \
                    in access share mode";
        sqlx::query(lock).execute(&mut *transaction).await?;
        let at = sqlx::query_scalar!(r#"select now() as "at!""#).fetch_one(&mut *transaction).await?;
        let kept = sqlx::query!(
            r#"
            select lower(times) as "from_at!", upper(times) as "until_at!"
            from unnest((select range_agg(tstzrange(from_at, until_at)) from messaging.partitions
                         where parent = 'outbox' and not detaching)) as times
            order by 1
            "#
        )
        .fetch_all(&mut *transaction)
        .await?;
        let kept = kept.into_iter().map(|times| times.from_at..times.until_at).collect();
        Ok(Self { transaction, at, kept })
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Another connection that sees the same moment.
    pub(super) async fn twin(&mut self, pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
        let name =
            sqlx::query_scalar!(r#"select pg_export_snapshot() as "name!""#).fetch_one(self.connection()).await?;
        open(pool, Some(&name)).await
    }

    /// Ends the transaction; returns its time and the first day in the outbox.
    pub(super) async fn end(self) -> sqlx::Result<(DateTime<Utc>, Option<String>)> {
        self.transaction.rollback().await?;
        Ok((self.at, self.kept.first().map(|times| times.start.format("%Y%m%d").to_string())))
    }
}

/// Opens a transaction that sees one moment: its own, or that of an exported snapshot.
///
/// An audit reads the whole database, so its statements may take longer than others, and one of its two connections may
/// wait for the other.
pub(super) async fn open(pool: &PgPool, snapshot: Option<&str>) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut transaction = pool.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
    if let Some(name) = snapshot {
        let name = name.replace('\'', "''");
        let import = format!("set transaction snapshot '{name}'");
        sqlx::query(sqlx::AssertSqlSafe(import)).execute(&mut *transaction).await?;
    }
    for limit in [
        "set local statement_timeout = '20min'",
        "set local idle_in_transaction_session_timeout = '20min'",
        "set local work_mem = '64MB'",
    ] {
        sqlx::query(limit).execute(&mut *transaction).await?;
    }
    Ok(transaction)
}

/// Runs a query for violations, each a line of text, and counts them all.
macro_rules! violations {
    ($snapshot:expr, $query:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query!(
            "select violation as \"violation!\", count(*) over () as \"total!\" from ("
                + $query
                + ") as found (violation) limit 20"
            $(, $argument)*
        )
        .fetch_all($snapshot.connection())
        .await
        .map(|rows| $crate::audit::report::Found {
            total: rows.first().map_or(0, |row| row.total.unsigned_abs()),
            examples: rows.into_iter().map(|row| row.violation).collect(),
        })
    };
}
pub(super) use violations;
