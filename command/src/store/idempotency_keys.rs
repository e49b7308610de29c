//! The answers that are stored under idempotency keys.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::idempotency::KeyedRequest;

/// An answer that was given before under the same idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct KnownAnswer {
    pub(crate) request_hash: Vec<u8>,
    pub(crate) status: i16,
    /// Of the entity at that time.
    pub(crate) version: i32,
    /// The JSON document that was answered.
    pub(crate) body: String,
    pub(crate) entity_id: Uuid,
}

/// The optional key of each command of a batch, as columns.
#[derive(Default)]
pub(super) struct KeyColumns<'a> {
    pub(super) caller: Vec<Option<&'a str>>,
    pub(super) route: Vec<Option<&'a str>>,
    pub(super) key: Vec<Option<&'a str>>,
    pub(super) request_hash: Vec<Option<&'a [u8]>>,
}

impl<'a> KeyColumns<'a> {
    pub(super) fn push(&mut self, request: Option<&'a KeyedRequest>) {
        self.caller.push(request.map(|request| request.caller.as_str()));
        self.route.push(request.map(|request| request.route.as_str()));
        self.key.push(request.map(|request| request.key.as_str()));
        self.request_hash.push(request.map(|request| request.request_hash.as_slice()));
    }
}

/// The answer given before to a request for a return.
pub(crate) async fn known_answer(conn: &mut PgConnection, request: &KeyedRequest) -> sqlx::Result<Option<KnownAnswer>> {
    sqlx::query_as!(
        KnownAnswer,
        r#"
        select request_hash, status, answer.version, entity_id,
               command.whole(requested.document, answer.progress, answer.state, answer.version)::text as "body!"
        from command.idempotency_keys as answer join command.returns as requested on requested.id = entity_id
        where caller = $1 and route = $2 and key = $3
        "#,
        request.caller,
        request.route,
        request.key.as_str(),
    )
    .fetch_optional(conn)
    .await
}

/// Deletes the answers given before that time. Returns how many.
pub(crate) async fn delete_answers(pool: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let deleted =
        sqlx::query!("delete from command.idempotency_keys where created_at < $1", before).execute(pool).await?;
    Ok(deleted.rows_affected())
}
