//! What the database has written: bytes of tables, and of the write-ahead log.

use anyhow::Result;
use serde::Serialize;

use crate::system::Database;

/// Bytes of the tables of each schema with their indexes and what is stored out of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct TableBytes {
    pub(crate) command: i64,
    pub(crate) messaging: i64,
    pub(crate) work: i64,
    pub(crate) read: i64,
}

impl TableBytes {
    pub(crate) async fn now(database: &Database) -> Result<Self> {
        let statement = "select sum(pg_total_relation_size(oid)) filter (where relnamespace = 'command'::regnamespace)::int8,
                                sum(pg_total_relation_size(oid)) filter (where relnamespace = 'messaging'::regnamespace)::int8,
                                sum(pg_total_relation_size(oid)) filter (where relnamespace = 'work'::regnamespace)::int8,
                                sum(pg_total_relation_size(oid)) filter (where relnamespace = 'read'::regnamespace)::int8
                         from pg_class where relkind = 'r'";
        let (command, messaging, work, read) = sqlx::query_as(statement).fetch_one(&database.pool).await?;
        Ok(Self { command, messaging, work, read })
    }
}

/// Bytes of all databases of the cluster. The write-ahead log is not in them.
pub(crate) async fn database_bytes(database: &Database) -> Result<i64> {
    let bytes = sqlx::query_scalar("select sum(pg_database_size(oid))::int8 from pg_database");
    Ok(bytes.fetch_one(&database.pool).await?)
}

/// How many bytes of log have been written since the cluster was made.
pub(crate) async fn log_bytes(database: &Database) -> Result<i64> {
    let bytes = sqlx::query_scalar("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8");
    Ok(bytes.fetch_one(&database.pool).await?)
}

/// The counters of `pg_stat_wal`, and where the last checkpoint began. A backend reports its part at the latest when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LogCounters {
    pub(crate) records: i64,
    pub(crate) full_page_images: i64,
    pub(crate) bytes: i64,
    pub(crate) checkpoint: String,
}

impl LogCounters {
    pub(crate) async fn now(database: &Database) -> Result<Self> {
        let statement =
            "select wal_records, wal_fpi, wal_bytes::int8, (select redo_lsn::text from pg_control_checkpoint())
                         from pg_stat_wal";
        let (records, full_page_images, bytes, checkpoint) =
            sqlx::query_as(statement).fetch_one(&database.pool).await?;
        Ok(Self { records, full_page_images, bytes, checkpoint })
    }
}
