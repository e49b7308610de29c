//! The database at one moment, for as long as the audit takes.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

/// A transaction that sees the database at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    transaction: Transaction<'static, Postgres>,
    pub(super) at: DateTime<Utc>,
    /// The days in the outbox, as `20261121`, oldest first. There may be gaps: a day can be settled, and dropped, before an
    /// older one.
    pub(super) days: Vec<String>,
}

impl Snapshot {
    pub(super) async fn begin(pool: &PgPool) -> sqlx::Result<Self> {
        let mut transaction = open(pool, None).await?;
        let at = sqlx::query_scalar!(r#"select now() as "at!""#).fetch_one(&mut *transaction).await?;
        let days = sqlx::query_scalar!(
            r#"
            select to_char(day, 'YYYYMMDD') as "day!"
            from messaging.partitions cross join generate_series(from_day, until_day - 1, interval '1 day') as day
            where parent = 'outbox' order by 1
            "#
        )
        .fetch_all(&mut *transaction)
        .await?;
        Ok(Self { transaction, at, days })
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
        Ok((self.at, self.days.into_iter().next()))
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
