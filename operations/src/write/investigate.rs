//! Who looks into what: a name at an event, so that two people do not mend the same thing. It keeps nothing from happening.

use runtime::database::in_transaction;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Changed;
use super::record::{Action, Operator, record};
use crate::OperationError;

/// Puts the operator's name at these events, in the place of another one's.
///
/// # Errors
/// [`OperationError::EventNotFound`]; then nothing is changed.
pub async fn begin(pool: &PgPool, event_ids: &[Uuid], operator: &Operator) -> Result<Changed, OperationError> {
    let event_ids = distinct(event_ids)?;
    let operator = operator.clone();
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let named = insert(conn, &event_ids, &operator).await?;
            if let Some(missing) = event_ids.iter().find(|id| !named.contains(id)) {
                return Err(OperationError::EventNotFound(*missing));
            }
            forget_what_is_gone(conn).await?;
            let rows_changed = named.len() as u64;
            record(conn, &operator, Action::Investigate, json!({ "event_ids": event_ids }), rows_changed).await?;
            Ok(Changed { rows_changed })
        })
    })
    .await
}

/// Takes the names off these events. Those without a name stay as they are.
pub async fn close(pool: &PgPool, event_ids: &[Uuid], operator: &Operator) -> Result<Changed, OperationError> {
    let event_ids = distinct(event_ids)?;
    let operator = operator.clone();
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let closed = sqlx::query!("delete from messaging.investigations where event_id = any($1)", &event_ids);
            let rows_changed = closed.execute(&mut *conn).await?.rows_affected();
            let target = json!({ "event_ids": event_ids });
            record(conn, &operator, Action::CloseInvestigation, target, rows_changed).await?;
            Ok(Changed { rows_changed })
        })
    })
    .await
}

fn distinct(event_ids: &[Uuid]) -> Result<Vec<Uuid>, OperationError> {
    let mut event_ids = event_ids.to_vec();
    event_ids.sort_unstable();
    event_ids.dedup();
    if event_ids.is_empty() {
        return Err(OperationError::Invalid("event_ids", "must name at least one event".to_owned()));
    }
    Ok(event_ids)
}

/// Returns the events that the log has.
async fn insert(conn: &mut PgConnection, event_ids: &[Uuid], operator: &Operator) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"
        insert into messaging.investigations (event_id, actor, reason)
        select event_id, $2, $3 from messaging.outbox where event_id = any($1) order by event_id
        on conflict (event_id) do update
        set actor = excluded.actor, reason = excluded.reason, began_at = excluded.began_at
        returning event_id
        "#,
        event_ids,
        operator.actor(),
        operator.reason(),
    )
    .fetch_all(conn)
    .await
}

/// The log does not keep its events for good, and this table is to stay small.
async fn forget_what_is_gone(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        delete from messaging.investigations as investigation
        where not exists (select from messaging.outbox where outbox.event_id = investigation.event_id)
        "#
    )
    .execute(conn)
    .await?;
    Ok(())
}
