//! A snapshot of `pg_dump`'s kind: a transaction at REPEATABLE READ that holds ACCESS SHARE on every table.
//!
//! While it is open, Postgres cannot remove row versions that died after its start, and no table can be dropped.

use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

#[derive(Debug)]
pub(crate) struct Snapshot(PgConnection);

impl Snapshot {
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql("begin isolation level repeatable read, read only").execute(&mut connection).await?;
        // The first query takes the snapshot. A lock of a partitioned table is a lock of its partitions.
        let tables: String = sqlx::query_scalar(
            "select string_agg(format('%I.%I', nspname, relname), ', ')
             from pg_class join pg_namespace on pg_namespace.oid = relnamespace
             where relkind in ('r', 'p') and not relispartition
               and nspname in ('command', 'messaging', 'work', 'read')",
        )
        .fetch_one(&mut connection)
        .await?;
        let lock = format!("lock table {tables} in access share mode");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut connection).await?;
        Ok(Self(connection))
    }

    pub(crate) async fn close(mut self) -> Result<()> {
        sqlx::raw_sql("rollback").execute(&mut self.0).await?;
        Ok(self.0.close().await?)
    }
}
