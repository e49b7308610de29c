//! The SQL over `work.credit_notes`: one row per return, and per refund without one.

use chrono::{DateTime, Utc};
use contracts::CreditNoteDocument;
use messaging::snapshots::Current;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

/// A credit note's number. It exists before the PDF does.
#[derive(Debug, Clone)]
pub(super) struct CreditNoteRow {
    pub(super) id: Uuid,
    pub(super) credit_note_number: String,
    pub(super) issued_at: DateTime<Utc>,
}

pub(super) async fn find(conn: &mut PgConnection, source_id: Uuid) -> sqlx::Result<Option<CreditNoteRow>> {
    sqlx::query_as!(
        CreditNoteRow,
        "select id, credit_note_number, issued_at from work.credit_notes where source_id = $1",
        source_id
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    source_id: Uuid,
    number: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<CreditNoteRow> {
    sqlx::query_as!(
        CreditNoteRow,
        r#"
        insert into work.credit_notes (id, source_id, credit_note_number, issued_at) values ($1, $2, $3, $4)
        returning id, credit_note_number, issued_at
        "#,
        id,
        source_id,
        number,
        at,
    )
    .fetch_one(conn)
    .await
}

/// Records the stored PDF. `false`: another attempt recorded it before.
pub(super) async fn mark_stored(conn: &mut PgConnection, note: &CreditNoteDocument) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
        r#"
        update work.credit_notes set path = $1, size_bytes = $2, sha256 = $3, stored_at = $4, document = $5
        where id = $6 and stored_at is null
        "#,
        note.path,
        note.size_bytes,
        note.sha256,
        note.generated_at,
        Json(note) as _,
        note.id,
    )
    .execute(conn)
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// The credit notes after the given id, in the order of their ids, as their last events show them. A number without a PDF
/// has no event yet and is left out.
pub(crate) async fn page(conn: &mut PgConnection, after: Uuid, limit: i64) -> sqlx::Result<Vec<Current>> {
    sqlx::query_as!(
        Current,
        r#"
        select id, 1 + erasures as "version!", document as "payload!: _"
        from work.credit_notes where id > $1 and document is not null
        order by id limit $2 for share
        "#,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}
