//! Applies migrations.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection, PgPool};

use crate::{MIGRATOR, admission};

/// A migration gives up a lock that it does not get at once, because every later statement would wait behind it. Then it is tried
/// again, so many times in all.
const ATTEMPTS: u32 = 30;
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Postgres' `lock_not_available`.
const LOCK_TIMEOUT: &str = "55P03";
/// Postgres' `undefined_table`.
const NO_TABLE: &str = "42P01";

/// Why a database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "the database has the migrations {0}, which this release lacks although it has later ones: it comes from another branch"
    )]
    Foreign(String),
    #[error(transparent)]
    Migration(#[from] MigrateError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Applies the missing migrations. Concurrent callers wait for each other.
///
/// A database that is newer than this release stays as it is: programs of the release before run on it until the upgrade is
/// over, and after a step back.
///
/// # Errors
/// A migration fails, or the database does not admit programs of this release.
pub async fn migrate(pool: &PgPool) -> Result<(), SchemaError> {
    apply(pool, Migrator::with_migrations(MIGRATOR.iter().cloned().collect())).await?;
    let mut connection = connect(pool).await?;
    sqlx::raw_sql(admission()).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Applies those of these migrations that the database lacks. It may have newer ones.
///
/// # Errors
/// A migration fails, or the database has a migration that belongs between these and is not one of them.
pub async fn apply(pool: &PgPool, mut migrator: Migrator) -> Result<(), SchemaError> {
    migrator.set_ignore_missing(true);
    let mut attempt = 0;
    loop {
        attempt += 1;
        // A connection of its own for each attempt, because sqlx keeps its lock after a failure.
        let mut connection = connect(pool).await?;
        refuse_foreign(&mut connection, &migrator).await?;
        let applied = migrator.run(&mut connection).await;
        connection.close().await?;
        match applied {
            Err(error) if attempt < ATTEMPTS && is_lock_timeout(&error) => {
                tracing::warn!(%error, attempt, "a migration did not get its lock in time; trying again");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            applied => return Ok(applied?),
        }
    }
}

/// An index or the validation of a constraint takes as long as it takes: no other statement waits for it.
async fn connect(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    sqlx::query("set statement_timeout = 0").execute(&mut connection).await?;
    Ok(connection)
}

async fn refuse_foreign(connection: &mut PgConnection, migrator: &Migrator) -> Result<(), SchemaError> {
    let applied = sqlx::query_scalar("select version from _sqlx_migrations").fetch_all(connection).await;
    let applied: Vec<i64> = match applied {
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == NO_TABLE) => return Ok(()),
        applied => applied?,
    };
    let known: BTreeSet<i64> = migrator.iter().map(|migration| migration.version).collect();
    let is_foreign = |version: &&i64| !known.contains(*version) && known.last() > Some(*version);
    let foreign: Vec<_> = applied.iter().filter(is_foreign).map(ToString::to_string).collect();
    if foreign.is_empty() { Ok(()) } else { Err(SchemaError::Foreign(foreign.join(", "))) }
}

fn is_lock_timeout(error: &MigrateError) -> bool {
    let (MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)) = error else { return false };
    cause.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == LOCK_TIMEOUT)
}
