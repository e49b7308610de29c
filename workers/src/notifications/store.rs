//! The SQL over `work.emails`: one row per event.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// What is on record of an event's e-mail.
#[derive(Debug)]
pub(super) struct OnRecord {
    pub(super) status: Option<String>,
    /// The address that an operator has corrected.
    pub(super) recipient: Option<String>,
}

pub(super) async fn find(pool: &PgPool, event_id: Uuid) -> sqlx::Result<OnRecord> {
    sqlx::query_as!(
        OnRecord,
        r#"
        select (select status from work.emails where event_id = $1) as status,
               (select recipient from work.email_corrections where event_id = $1) as recipient
        "#,
        event_id,
    )
    .fetch_one(pool)
    .await
}

/// Records that the e-mail was logged.
pub(super) async fn insert_logged(
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

/// Records that the text is about to be sent. `false`: the record exists already.
pub(super) async fn mark_sending(
    conn: &mut PgConnection,
    event_id: Uuid,
    kind: &str,
    message_id: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        r#"
        insert into work.emails as existing (event_id, kind, message_id, status, recorded_at) values ($1, $2, $3, 'SENDING', $4)
        on conflict (event_id, kind)
        do update set status = 'SENDING', message_id = excluded.message_id, recorded_at = excluded.recorded_at
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

pub(super) async fn mark_sent(conn: &mut PgConnection, event_id: Uuid, at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "update work.emails set status = 'SENT', sent_at = $1 where event_id = $2 and status = 'SENDING'",
        at,
        event_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The server has not accepted it.
pub(super) async fn mark_refused(conn: &mut PgConnection, event_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update work.emails set status = 'REFUSED' where event_id = $1 and status = 'SENDING'", event_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// It was being sent when its job died, and the server may have accepted it.
pub(super) async fn mark_in_doubt(conn: &mut PgConnection, event_id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("update work.emails set status = 'IN_DOUBT' where event_id = $1 and status = 'SENDING'", event_id)
        .execute(conn)
        .await?;
    Ok(())
}
