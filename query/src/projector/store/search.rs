//! The words by which orders and returns are found.

use chrono::{DateTime, Utc};
use contracts::EntityType;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, column, query_models};
use crate::words::Words;

/// Writes the words of documents that changed. Where they are the same as before, nothing is written.
pub(super) async fn write(
    conn: &mut PgConnection,
    models: Models,
    kind: EntityType,
    found_by: &[(Uuid, DateTime<Utc>, Words)],
) -> sqlx::Result<()> {
    query_models!(
        models,
        query.execute(conn),
        insert into "search as known" r#" (kind, id, created_at, words)
        select $1, id, created_at, array_to_tsvector(string_to_array(words, $5))
        from unnest($2::uuid[], $3::timestamptz[], $4::text[]) as incoming (id, created_at, words)
        on conflict (id) do update
        set created_at = excluded.created_at, words = excluded.words
        where (known.created_at, known.words) is distinct from (excluded.created_at, excluded.words)
        "#,
        kind.as_str(),
        &column(found_by, |(id, ..)| *id),
        &column(found_by, |(_, created_at, _)| *created_at),
        &column(found_by, |(.., words)| words.joined()) as &[String],
        Words::SEPARATOR,
    )?;
    Ok(())
}
