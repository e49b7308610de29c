//! The history of every aggregate.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, query_models};
use crate::projector::batch::HistoryKey;

pub(super) async fn write(
    conn: &mut PgConnection,
    models: Models,
    history: &BTreeMap<HistoryKey, &str>,
) -> sqlx::Result<()> {
    let types: Vec<&str> = history.keys().map(|(aggregate_type, _, _)| *aggregate_type).collect();
    let ids: Vec<Uuid> = history.keys().map(|(_, id, _)| *id).collect();
    let versions: Vec<i32> = history.keys().map(|(_, _, version)| *version).collect();
    let entries: Vec<&str> = history.values().copied().collect();
    query_models!(
        models,
        query.execute(conn),
        insert into "history" r#" (aggregate_type, aggregate_id, version, entry)
        select aggregate_type, aggregate_id, version, entry::json
        from unnest($1::text[], $2::uuid[], $3::int[], $4::text[])
            as incoming (aggregate_type, aggregate_id, version, entry)
        on conflict do nothing
        "#,
        &types as &[&str],
        &ids,
        &versions,
        &entries as &[&str],
    )?;
    Ok(())
}
