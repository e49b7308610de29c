//! Rule 11, second half: the audit as it was sealed.

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt;
use sqlx::PgConnection;
use storage::InvoiceStore;

use super::Sources;
use super::report::{Findings, Found, Rule};
use super::snapshot::{Snapshot, violations};
use crate::seal::{SealFile, SealedRow, Statement, is_signed, link, make, public_key, rows_name, seal_name};

/// A seal that is in the store for longer is not being made any more.
const RECORDED_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// A seal as the database keeps it.
struct Recorded {
    number: i64,
    statement: String,
    signature: String,
}

/// Compares the seals with the audit. The seals are read after the snapshot was taken; those that it does not know yet are left
/// out.
pub(super) async fn check(snapshot: &mut Snapshot, sources: &Sources, findings: &mut Findings) -> sqlx::Result<()> {
    let recorded =
        sqlx::query_as!(Recorded, "select number, statement, signature from command.audit_seals order by number")
            .fetch_all(snapshot.connection())
            .await?;
    let Some(url) = &sources.seal_store_url else {
        findings.left_out(Rule::Chain, "the seals: no store was given (--seal-store-url)");
        return Ok(());
    };
    findings.add(Rule::Chain, unsealable(snapshot).await?);
    let given = sources.seal_public_keys.iter().filter(|key| !key.trim().is_empty());
    let trusted = given.map(|key| public_key(key)).collect::<Result<Vec<_>>>().unwrap_or_else(|error| {
        findings.could_not(Rule::Chain, format!("whose seals they are: {error:#}"));
        Vec::new()
    });
    if trusted.is_empty() {
        findings.left_out(Rule::Chain, "whose seals they are: no key was given (--seal-public-key)");
    }
    let store = match storage::open_existing(url).await {
        Ok(store) => store,
        Err(error) => {
            findings.could_not(Rule::Chain, format!("the seals: {error}"));
            return Ok(());
        }
    };
    let next = recorded.last().map_or(1, |last| last.number + 1);
    let mut seals = Seals { store, trusted, before: None };
    for recorded in recorded {
        match seals.examine(snapshot.connection(), &recorded).await? {
            Ok(found) => findings.add(Rule::Chain, found),
            Err(error) => findings.could_not(Rule::Chain, format!("the seal {}: {error:#}", recorded.number)),
        }
    }
    match seals.forgotten(next, snapshot.at).await {
        Ok(found) => findings.add(Rule::Chain, found),
        Err(error) => findings.could_not(Rule::Chain, format!("the seal {next}: {error:#}")),
    }
    Ok(())
}

/// Rows with positions that no seal will ever cover.
async fn unsealable(snapshot: &mut Snapshot) -> sqlx::Result<Found> {
    violations!(
        snapshot,
        r#"
        select format('%s %s@%s has a position that was never given out: %s', entity_type, entity_id, version, position)
        from command.state_transitions
        where position > (select last_value from command.state_transitions_position_seq) or position <= 0
        "#
    )
}

/// The seals, examined in their order.
struct Seals {
    store: InvoiceStore,
    /// Those who may have signed. None: anyone.
    trusted: Vec<String>,
    before: Option<(Statement, String)>,
}

impl Seals {
    /// What is wrong with a seal, or with the rows that it seals. The inner error: the store cannot be read.
    async fn examine(&mut self, conn: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<Result<Found>> {
        let Recorded { number, statement: text, signature } = recorded;
        let mut found = Found::default();
        let (file, rows) = match self.files(*number).await {
            Ok(files) => files,
            Err(error) => {
                self.before = serde_json::from_str(text).ok().map(|statement| (statement, text.clone()));
                return Ok(Err(error));
            }
        };
        let Some(file) = file else {
            found.push(format!("{} is missing in the store", seal_name(*number)));
            // The next one follows on what the database knows of it.
            self.before = serde_json::from_str(text).ok().map(|statement| (statement, text.clone()));
            return Ok(Ok(found));
        };
        if (&file.statement, &file.signature) != (text, signature) {
            found.push(format!("the seal {number} is another one in the database than in the store"));
        }
        let Ok(statement) = serde_json::from_str::<Statement>(&file.statement) else {
            found.push(format!("{} says nothing that can be read", seal_name(*number)));
            return Ok(Ok(found));
        };
        if let Some(fault) = self.fault(*number, &file, &statement) {
            found.push(fault);
        }
        match rows {
            Some(rows) if statement.seals(&rows) => compare(conn, &statement, &rows, &mut found).await?,
            Some(_) => found.push(format!("{} has other rows than were sealed", rows_name(*number))),
            None => found.push(format!("{} is missing in the store", rows_name(*number))),
        }
        self.before = Some((statement, file.statement));
        Ok(Ok(found))
    }

    /// A seal in the store that the database should know.
    async fn forgotten(&self, next: i64, at: DateTime<Utc>) -> Result<Found> {
        let mut found = Found::default();
        if let Some(file) = make::read(&self.store, next).await? {
            let made = serde_json::from_str::<Statement>(&file.statement).map(|statement| statement.sealed_at);
            if made.is_ok_and(|made| made < at - RECORDED_WITHIN) {
                found.push(format!("{} is in the store, and the database does not know it", seal_name(next)));
            }
        }
        Ok(found)
    }

    async fn files(&self, number: i64) -> Result<(Option<SealFile>, Option<Vec<SealedRow>>)> {
        Ok((make::read(&self.store, number).await?, make::read_rows(&self.store, number).await?))
    }

    /// Why the statement is not the next one of its signer.
    fn fault(&self, number: i64, file: &SealFile, statement: &Statement) -> Option<String> {
        let is_trusted = self.trusted.is_empty() || self.trusted.contains(&statement.public_key);
        if !is_trusted || !is_signed(&file.statement, &file.signature, &statement.public_key) {
            return Some(format!("the seal {number} is not signed with a key that is trusted"));
        }
        let (after, previous) = match &self.before {
            Some((before, text)) => (before.until, Some(link(text))),
            None => (0, None),
        };
        let follows = (statement.number, statement.after, &statement.previous) == (number, after, &previous);
        (!follows).then(|| format!("the seal {number} does not follow on the one before"))
    }
}

/// Names the rows of the audit that are not as they were sealed.
async fn compare(
    conn: &mut PgConnection,
    statement: &Statement,
    sealed: &[SealedRow],
    found: &mut Found,
) -> sqlx::Result<()> {
    let mut present = sqlx::query!(
        r#"
        select position, hash, format('%s %s@%s', entity_type, entity_id, version) as "name!"
        from command.state_transitions where position > $1 and position <= $2 order by position
        "#,
        statement.after,
        statement.until,
    )
    .fetch(conn);
    let number = statement.number;
    let removed = |row: &SealedRow| format!("the row at position {} was removed since the seal {number}", row.position);
    let mut sealed = sealed.iter().peekable();
    while let Some(row) = present.try_next().await? {
        while let Some(missing) = sealed.next_if(|sealed| sealed.position < row.position) {
            found.push(removed(missing));
        }
        match sealed.next_if(|sealed| sealed.position == row.position) {
            Some(sealed) if sealed.hash == row.hash[..] => {}
            Some(_) => found.push(format!("{} was changed since the seal {number}, and its hash too", row.name)),
            None => found.push(format!("{} was put in below the seal {number}", row.name)),
        }
    }
    found.extend(sealed.map(removed));
    Ok(())
}
