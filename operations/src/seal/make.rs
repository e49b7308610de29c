//! Making seals.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use messaging::fence;
use runtime::Clock;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use storage::{InvoiceStore, StoreError};

use super::statement::{SealFile, SealedRow, Statement, bytes_of, link, root, rows_name, rows_of, seal_name};
use super::{SealKey, is_signed};

/// Positions in one seal: at most 10 MB of hashes.
const MOST_ROWS: i64 = 250_000;
/// How long transactions that are writing the audit may take to end.
const WRITERS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// One process at a time makes seals.
const LOCK: i64 = 0x5ea1;

/// The seals that were made.
#[derive(Debug, Default, Serialize)]
pub struct Made {
    pub seals: u64,
    pub rows: u64,
    /// The number of the last seal; `None` when there is none yet.
    pub last: Option<i64>,
}

/// The last seal that the database knows.
struct Last {
    number: i64,
    until: i64,
    statement: String,
}

/// Seals everything that has been added to the audit since the last seal.
///
/// # Errors
/// When the database or the store fails, or another process is sealing.
pub async fn seal(pool: &PgPool, store: &InvoiceStore, key: &SealKey, clock: &Clock) -> Result<Made> {
    pass_sealed(pool).await?;
    let settled = settled(pool).await?;
    let mut made = Made::default();
    loop {
        let mut tx = pool.begin().await?;
        let is_alone = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, LOCK);
        ensure!(is_alone.fetch_one(&mut *tx).await?, "another process is sealing the audit; try again later");
        let last = last(&mut tx).await?;
        made.last = last.as_ref().map(|last| last.number);
        let file = match left_over(store, key, last.as_ref(), settled).await? {
            Some(left_over) => Some(left_over),
            None => next(&mut tx, store, key, last.as_ref(), settled, clock.now()).await?,
        };
        let Some(file) = file else { return Ok(made) };
        let statement = record(&mut tx, &file).await?;
        tx.commit().await?;
        made = Made { seals: made.seals + 1, rows: made.rows + statement.rows, last: Some(statement.number) };
    }
}

/// After a failover to a server that lacks the last commits, passes over the positions that are sealed already.
async fn pass_sealed(pool: &PgPool) -> sqlx::Result<()> {
    let behind = sqlx::query!(
        r#"
        select max(until_position) as sealed, (select last_value from command.state_transitions_position_seq) as "drawn!"
        from command.audit_seals
        "#
    );
    let behind = behind.fetch_one(pool).await?;
    if behind.sealed > Some(behind.drawn) {
        let (sealed, drawn) = (behind.sealed, behind.drawn);
        tracing::error!(
            alert = true,
            sealed,
            drawn,
            "the database lacks rows of the audit that are sealed; run ops audit --chain"
        );
        sqlx::query!("select command.pass_sealed_positions()").execute(pool).await?;
    }
    Ok(())
}

/// A position up to which the audit is complete: no open transaction can still commit a row there.
async fn settled(pool: &PgPool) -> Result<i64> {
    let drawn = sqlx::query_scalar!(
        r#"select case when is_called then last_value else 0 end as "drawn!" from command.state_transitions_position_seq"#
    );
    let drawn = drawn.fetch_one(pool).await?;
    let then = fence::writers(pool, "command.state_transitions").await?;
    let waited = tokio::time::timeout(WRITERS_WITHIN, ended(pool, &then));
    waited.await.with_context(|| {
        format!("a transaction has been writing the audit for more than {WRITERS_WITHIN:?}: end it, and seal again")
    })??;
    Ok(drawn)
}

/// Waits until none of these transactions writes the audit any more.
async fn ended(pool: &PgPool, writers: &[String]) -> sqlx::Result<()> {
    loop {
        let now = fence::writers(pool, "command.state_transitions").await?;
        if !writers.iter().any(|writer| now.contains(writer)) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn last(conn: &mut PgConnection) -> sqlx::Result<Option<Last>> {
    let last = sqlx::query_as!(
        Last,
        "select number, until_position as until, statement from command.audit_seals order by number desc limit 1"
    );
    last.fetch_optional(conn).await
}

/// The seal that a process left in the store when it died before it could record it.
async fn left_over(store: &InvoiceStore, key: &SealKey, last: Option<&Last>, settled: i64) -> Result<Option<SealFile>> {
    let number = last.map_or(1, |last| last.number + 1);
    let Some(file) = read(store, number).await? else { return Ok(None) };
    let statement: Statement = serde_json::from_str(&file.statement)?;
    let follows = statement.number == number
        && statement.after == last.map_or(0, |last| last.until)
        && statement.previous == last.map(|last| link(&last.statement))
        && statement.until <= settled
        && is_signed(&file.statement, &file.signature, &key.public())
        && read_rows(store, number).await?.is_some_and(|rows| statement.seals(&rows));
    let name = seal_name(number);
    ensure!(
        follows,
        "{name} is in the store, and is no seal of ours that follows on the last one of the database: run `ops audit --chain`"
    );
    Ok(Some(file))
}

/// Writes the next seal to the store: its rows, and then the seal itself. `None` when there is nothing to seal.
async fn next(
    conn: &mut PgConnection,
    store: &InvoiceStore,
    key: &SealKey,
    last: Option<&Last>,
    settled: i64,
    now: DateTime<Utc>,
) -> Result<Option<SealFile>> {
    let after = last.map_or(0, |last| last.until);
    // By positions, of which few have no row, and not by rows: the index finds a range, and no order.
    let until = settled.min(after + MOST_ROWS);
    if until <= after {
        return Ok(None);
    }
    let found = sqlx::query!(
        "select position, hash from command.state_transitions where position > $1 and position <= $2 order by position",
        after,
        until,
    );
    let rows = found.fetch_all(conn).await?;
    if rows.is_empty() && until == settled {
        return Ok(None);
    }
    let rows: Vec<_> = rows.iter().map(|row| SealedRow::new(row.position, &row.hash)).collect();
    let statement = Statement {
        number: last.map_or(1, |last| last.number + 1),
        after,
        until,
        rows: rows.len() as u64,
        root: root(&rows),
        previous: last.map(|last| link(&last.statement)),
        sealed_at: now,
        public_key: key.public(),
    };
    let (number, statement) = (statement.number, serde_json::to_string(&statement)?);
    let file = SealFile { signature: key.sign(&statement), statement };
    store.put(&rows_name(number), bytes_of(&rows).into()).await?;
    store.put(&seal_name(number), serde_json::to_vec_pretty(&file)?.into()).await?;
    Ok(Some(file))
}

async fn record(conn: &mut PgConnection, file: &SealFile) -> Result<Statement> {
    let statement: Statement = serde_json::from_str(&file.statement)?;
    sqlx::query!(
        "insert into command.audit_seals (number, after_position, until_position, statement, signature, sealed_at)
         values ($1, $2, $3, $4, $5, $6)",
        statement.number,
        statement.after,
        statement.until,
        file.statement,
        file.signature,
        statement.sealed_at,
    )
    .execute(conn)
    .await?;
    Ok(statement)
}

/// A seal in the store; `None` when there is none with this number.
pub(crate) async fn read(store: &InvoiceStore, number: i64) -> Result<Option<SealFile>> {
    let name = seal_name(number);
    match store.get(&name).await {
        Ok(file) => {
            Ok(Some(serde_json::from_slice(&file.bytes().await?).with_context(|| format!("{name} is no seal"))?))
        }
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => bail!(error),
    }
}

/// The rows of a seal in the store; `None` when they are not there.
pub(crate) async fn read_rows(store: &InvoiceStore, number: i64) -> Result<Option<Vec<SealedRow>>> {
    let name = rows_name(number);
    match store.get(&name).await {
        Ok(file) => {
            let rows = rows_of(&file.bytes().await?).with_context(|| format!("{name} has no rows of a seal"))?;
            Ok(Some(rows))
        }
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => bail!(error),
    }
}
