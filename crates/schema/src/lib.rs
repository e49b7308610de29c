//! The migrations as a library. The SQL files in `migrations/` explain the tables.
//!
//! Only this crate embeds them. A process does not migrate its database: an operator runs `standalone migrate` once per
//! release, as the owner of the schema.

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

/// The schema that this release expects.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Applies the missing migrations. Concurrent callers wait for each other.
///
/// # Errors
/// A migration fails, or the database has a migration that this release does not know.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await
}
