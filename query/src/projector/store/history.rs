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
            query.execute(conn),
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
    }
    Ok(())
}
