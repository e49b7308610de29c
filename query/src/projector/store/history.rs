//! The history of every aggregate.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, query_models};
use crate::projector::batch::{HistoryEntry, HistoryKey};

/// An entry is written once. Only an erasure replaces it.
pub(super) async fn write(
    conn: &mut PgConnection,
    models: Models,
    history: &BTreeMap<HistoryKey, HistoryEntry<'_>>,
) -> sqlx::Result<()> {
    let types: Vec<&str> = history.keys().map(|(aggregate_type, _, _)| *aggregate_type).collect();
    let ids: Vec<Uuid> = history.keys().map(|(_, id, _)| *id).collect();
    let versions: Vec<i32> = history.keys().map(|(_, _, version)| *version).collect();
    let entries: Vec<&str> = history.values().map(|entry| entry.text).collect();
    let erased: Vec<bool> = history.values().map(|entry| entry.is_erased).collect();
    query_models!(
        models,
        query.execute(&mut *conn),
        insert into "history as known" r#" (aggregate_type, aggregate_id, version, entry)
        select aggregate_type, aggregate_id, version, entry::json
        from unnest($1::text[], $2::uuid[], $3::int[], $4::text[], $5::bool[])
            as incoming (aggregate_type, aggregate_id, version, entry, erased)
        where not erased
        on conflict do nothing
        "#,
        &types as &[&str],
        &ids,
        &versions,
        &entries as &[&str],
        &erased,
    )?;
    if !erased.contains(&true) {
        return Ok(());
    }
    query_models!(
        models,
        query.execute(conn),
        insert into "history as known" r#" (aggregate_type, aggregate_id, version, entry)
        select aggregate_type, aggregate_id, version, entry::json
        from unnest($1::text[], $2::uuid[], $3::int[], $4::text[], $5::bool[])
            as incoming (aggregate_type, aggregate_id, version, entry, erased)
        where erased
        on conflict (aggregate_type, aggregate_id, version) do update set entry = excluded.entry
        "#,
        &types as &[&str],
        &ids,
        &versions,
        &entries as &[&str],
        &erased,
    )?;
    Ok(())
}
