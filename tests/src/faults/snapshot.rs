//! Someone's snapshot that is held open for long, as by a backup.

use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const LOCK_EVERYTHING: &str = "
    do $$ begin
        execute (select 'lock table ' || string_agg(oid::regclass::text, ', ' order by oid) || ' in access share mode'
                 from pg_class where relkind in ('r', 'p')
                     and relnamespace in ('command'::regnamespace, 'messaging'::regnamespace, 'work'::regnamespace,
                                          'read'::regnamespace));
    end $$";

/// The snapshot that is held open now, if any.
#[derive(Debug, Default)]
pub(super) struct HeldSnapshot(Option<JoinHandle<()>>);

impl HeldSnapshot {
    /// Holds a snapshot open for a while. `false` when one is open already.
    pub(super) fn hold(&mut self, database: PgConnectOptions, lasts: Duration) -> bool {
        if self.0.as_ref().is_some_and(|held| !held.is_finished()) {
            return false;
        }
        self.0 = Some(tokio::spawn(async move {
            // A crash or a failover ends it early.
            drop(hold(database, lasts).await);
        }));
        true
    }

    /// Ends the snapshot.
    pub(super) fn end(&mut self) {
        if let Some(held) = self.0.take() {
            held.abort();
        }
    }
}

/// What `pg_dump` does: one transaction that sees the database as it was, with a lock on every table.
async fn hold(database: PgConnectOptions, lasts: Duration) -> sqlx::Result<()> {
    let mut connection = database.connect().await?;
    for statement in ["begin isolation level repeatable read, read only", LOCK_EVERYTHING] {
        sqlx::raw_sql(statement).execute(&mut connection).await?;
    }
    sleep(lasts).await;
    sqlx::raw_sql("rollback").execute(&mut connection).await?;
    Ok(())
}
