//! The SQL over `work.emails`: one row per event.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// Where the e-mail of an event stands, if it has begun.
pub(crate) async fn find(pool: &PgPool, event_id: Uuid) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select status from work.emails where event_id = $1", event_id).fetch_optional(pool).await
}

/// An e-mail that was logged.
pub(crate) async fn insert_logged(
    conn: &mut PgConnection,
    event_id: Uuid,
    kind: &str,
    message_id: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into work.emails (event_id, kind, message_id, status, sent_at) values ($1, $2, $3, 'LOGGED', $4)
        on conflict do nothing
        "#,
        event_id,
        kind,
        message_id,
        at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records that the text is about to be handed over. `false` when that is on record already.
pub(crate) async fn mark_sending(
    conn: &mut PgConnection,
    event_id: Uuid,
    kind: &str,
    message_id: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        r#"
        insert into work.emails as existing (event_id, kind, message_id, status, recorded_at) values ($1, $2, $3, 'SENDING', $4)
        on conflict (event_id, kind) do update set status = 'SENDING', message_id = excluded.message_id, recorded_at = $4
        where existing.status in ('REFUSED', 'IN_DOUBT')
        "#,
        event_id,
        kind,
        message_id,
        at,
    )
    .execute(conn)
    .await?;
    Ok(marked.rows_affected() == 1)
}

pub(crate) async fn mark_sent(conn: &mut PgConnection, event_id: Uuid, at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "update work.emails set status = 'SENT', sent_at = $2 where event_id = $1 and status = 'SENDING'",
        event_id,
        at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What the server has not accepted.
pub(crate) async fn mark_refused(conn: &mut PgConnection, event_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update work.emails set status = 'REFUSED' where event_id = $1 and status = 'SENDING'", event_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// What has been handed over by somebody who cannot tell what became of it.
pub(crate) async fn mark_in_doubt(conn: &mut PgConnection, event_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update work.emails set status = 'IN_DOUBT' where event_id = $1 and status = 'SENDING'", event_id)
        .execute(conn)
        .await?;
    Ok(())
}
