//! The history of every aggregate.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, query_models};
use crate::projector::batch::{HistoryEntry, HistoryKey};

/// The rows, column by column.
#[derive(Default)]
struct Columns<'a> {
    types: Vec<&'a str>,
    ids: Vec<Uuid>,
    versions: Vec<i32>,
    entries: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, (aggregate_type, id, version): HistoryKey, entry: &'a str) {
        self.types.push(aggregate_type);
        self.ids.push(id);
        self.versions.push(version);
        self.entries.push(entry);
    }
}

/// An entry is written once. Only an erasure replaces it.
pub(super) async fn write(
    conn: &mut PgConnection,
    models: Models,
    history: &BTreeMap<HistoryKey, HistoryEntry<'_>>,
) -> sqlx::Result<()> {
    let (mut told, mut erased) = (Columns::default(), Columns::default());
    for (key, HistoryEntry { text, is_erased }) in history {
        if *is_erased { &mut erased } else { &mut told }.push(*key, text);
    }
    if !told.ids.is_empty() {
        query_models!(
            models,
            query.execute(&mut *conn),
            insert into "history" r#" (aggregate_type, aggregate_id, version, entry)
            select aggregate_type, aggregate_id, version, entry::json
            from unnest($1::text[], $2::uuid[], $3::int[], $4::text[])
                as incoming (aggregate_type, aggregate_id, version, entry)
            on conflict do nothing
            "#,
            &told.types as &[&str],
            &told.ids,
            &told.versions,
            &told.entries as &[&str],
        )?;
    }
    if !erased.ids.is_empty() {
        query_models!(
            models,
            query.execute(&mut *conn),
            insert into "history" r#" (aggregate_type, aggregate_id, version, entry)
            select aggregate_type, aggregate_id, version, entry::json
            from unnest($1::text[], $2::uuid[], $3::int[], $4::text[])
                as incoming (aggregate_type, aggregate_id, version, entry)
            on conflict (aggregate_type, aggregate_id, version) do update set entry = excluded.entry
            "#,
            &erased.types as &[&str],
            &erased.ids,
            &erased.versions,
            &erased.entries as &[&str],
        )?;
        delete_exports(conn).await?;
    }
    Ok(())
}

/// Exports that may name the customer who was erased, or say something in their words. Those that are being made are started again.
async fn delete_exports(conn: &mut PgConnection) -> sqlx::Result<()> {
    let stale = sqlx::query_scalar!(
        "update read.exports
         set status = case status when 'READY' then 'EXPIRED' else 'PENDING' end, owner = null, attempts = greatest(attempts - 1, 0)
         where status in ('READY', 'RUNNING') and kind in ('orders', 'returns', 'refunds', 'returns_by_reason')
         returning id"
    );
    let stale = stale.fetch_all(&mut *conn).await?;
    if !stale.is_empty() {
        // A statement of its own: it sees what was stored while the one before waited.
        sqlx::query!("delete from read.export_parts where export_id = any($1)", &stale).execute(conn).await?;
    }
    Ok(())
}
