//! The migrations as a library. The SQL files in `migrations/` explain the tables, and docs/migrations.md how to write
//! another file.
//!
//! Only this crate embeds them. A process does not migrate its database: an operator runs `standalone migrate` once per
//! release, as the owner of the schema. A process only asks whether it may use the schema that is there ([`admission`]).

mod migrate;
#[cfg(test)]
mod rules;

use std::sync::LazyLock;

use sqlx::migrate::Migrator;

pub use migrate::{SchemaError, apply, migrate};

/// The schema that this release expects.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// The number of the newest migration that this release knows.
pub fn newest() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The statement with which each connection of a process begins. The database refuses it when the schema is older than this
/// release, or when a later migration has removed something that this release may use.
pub fn admission() -> &'static str {
    static ADMISSION: LazyLock<String> = LazyLock::new(|| format!("select messaging.admit({})", newest()));
    &ADMISSION
}

/// The same for a process that repeats a few large statements, as relay, workers and projector do
/// (docs/decisions/0025-one-plan-for-each-statement.md, 0026-plans-that-need-no-statistics.md):
///
/// - They keep one plan for each statement. Postgres would make a new one each time, because it expects the plan for these
///   parameters to be cheaper. Making it takes up to 5 ms, longer than the statement itself.
/// - That plan may have been made while a table or a partition was empty. So plans that read a whole table, and are the best then,
///   are out.
pub fn admission_for_loops() -> &'static str {
    static ADMISSION: LazyLock<String> = LazyLock::new(|| {
        const SETTINGS: &str =
            "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_mergejoin = off";
        format!("{}; {SETTINGS}", admission())
    });
    &ADMISSION
}
