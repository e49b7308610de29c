//! Which programs a database admits while an upgrade is under way. `make upgrade` plays a whole one.

use anyhow::Result;
use runtime::database::connect_admitted;
use schema::SchemaError;
use sqlx::migrate::Migrator;
use tests::waiting::SOON;
use tests::{Database, eventually, programs};

use crate::operations::execute;

const ROLE: &str = "articurated_command";

/// The migrations of this release, and the synthetic ones: one adds something, the next removes it.
async fn migrations(up_to: i64) -> Result<Migrator> {
    let synthetic = Migrator::new(programs::root().join("tests/upgrade").as_path()).await?;
    let all = schema::MIGRATOR.iter().chain(synthetic.iter()).filter(|migration| migration.version <= up_to);
    Ok(Migrator::with_migrations(all.cloned().collect()))
}

/// Why a program of this release is not admitted.
async fn refusal(database: &Database) -> Result<String> {
    let refused = connect_admitted(&database.config(), ROLE, "command", schema::admission()).await;
    Ok(format!("{:#}", refused.expect_err("it is not admitted")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_program_is_admitted_until_a_migration_removes_something() -> Result<()> {
    let database = Database::new().await?;
    let program = connect_admitted(&database.config(), ROLE, "command", schema::admission()).await?;
    sqlx::query("select from command.orders").fetch_optional(&program).await?;

    schema::apply(&database.pool, migrations(9000).await?).await?;
    sqlx::query("select from command.orders").fetch_optional(&program).await?;
    connect_admitted(&database.config(), ROLE, "another", schema::admission()).await?;
    // An older release has nothing to do.
    schema::migrate(&database.pool).await?;

    let refused = schema::apply(&database.pool, migrations(9001).await?).await.expect_err("a program is connected");
    let newest = schema::newest();
    let named = format!("command (knows migration {newest})");
    assert!(refused.to_string().contains("older programs are connected: ") && refused.to_string().contains(&named));

    program.close().await;
    eventually("it is gone, and the migration goes through", SOON, async || {
        Ok(schema::apply(&database.pool, migrations(9001).await?).await.ok())
    })
    .await?;
    let why = format!("the database needs programs that know migration 9000, and this one knows those up to {newest}");
    let refused = refusal(&database).await?;
    assert!(refused.contains(&why), "{refused}");
    let refused = schema::migrate(&database.pool).await.expect_err("nor may it migrate");
    assert!(refused.to_string().contains(&why), "{refused}");
    Ok(())
}

/// It reads what is required before the migration commits, and must not go on with that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_connects_during_a_removal_waits_for_it() -> Result<()> {
    let database = Database::new().await?;
    let mut removal = database.pool.begin().await?;
    sqlx::query("select messaging.require_programs(9000)").execute(&mut *removal).await?;
    let config = database.config();
    let connecting = tokio::spawn(async move { connect_admitted(&config, ROLE, "late", schema::admission()).await });
    eventually("it waits", SOON, async || {
        let waits = "select 1 from pg_stat_activity where application_name = 'late' and wait_event_type = 'Lock'";
        Ok(sqlx::query(waits).fetch_optional(&database.pool).await?.map(drop))
    })
    .await?;
    removal.commit().await?;
    let refused = connecting.await?.expect_err("it does not know migration 9000");
    assert!(format!("{refused:#}").contains("needs programs that know migration 9000"), "{refused:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_not_admitted_to_an_older_schema() -> Result<()> {
    let database = Database::new().await?;
    execute(&database.pool, "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .await?;
    let refused = refusal(&database).await?;
    assert!(refused.contains("run `standalone migrate` of this release first"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_branch_is_not_migrated() -> Result<()> {
    let database = Database::new().await?;
    let other =
        "insert into _sqlx_migrations select 0, 'other', installed_on, true, checksum, 0 from _sqlx_migrations limit 1";
    execute(&database.pool, other).await?;
    let refused = schema::migrate(&database.pool).await.expect_err("it has a migration that this release lacks");
    assert!(matches!(&refused, SchemaError::Foreign(numbers) if numbers == "0"), "{refused}");
    Ok(())
}
