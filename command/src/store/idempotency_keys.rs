//! The answers that are stored under idempotency keys.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::idempotency::KeyedRequest;

/// The last bound counts; the others tell what happened.
const BOUNDS_KEPT: i64 = 100;

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
               command.whole(command.with_items(requested.document, requested.items, answer.progress), answer.progress, answer.state, answer.version) as "body!"
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

/// The answer to a request about an entity that already was as requested.
#[derive(Debug)]
pub(crate) struct UnchangedAnswer<'a> {
    pub(crate) entity: &'static str,
    pub(crate) id: Uuid,
    pub(crate) version: i32,
    pub(crate) state: &'a str,
    /// What transitions have added to its document, as JSON.
    pub(crate) progress: &'a str,
}

/// Stores the answer to a request that changed nothing, unless it is stored already. `false`: the key was used with another body.
pub(crate) async fn remember_unchanged(
    conn: &mut PgConnection,
    request: &KeyedRequest,
    answer: &UnchangedAnswer<'_>,
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let stored = sqlx::query_scalar!(
        r#"
        with stored as (
            insert into command.idempotency_keys
                (caller, route, key, request_hash, entity_type, entity_id, status, state, version, progress, created_at)
            values ($1, $2, $3, $4, $5, $6, 200, $7, $8, $9::text::jsonb, $10)
            on conflict on constraint idempotency_keys_pkey do nothing
            returning request_hash
        )
        select coalesce((select request_hash from stored),
                        (select request_hash from command.idempotency_keys where caller = $1 and route = $2 and key = $3))
        "#,
        request.caller,
        request.route,
        request.key.as_str(),
        request.request_hash,
        answer.entity,
        answer.id,
        answer.state,
        answer.version,
        answer.progress,
        at,
    )
    .fetch_one(conn)
    .await?;
    // An answer that another process stored in this moment is not seen yet. It is to a request at the same time, not to a later one.
    Ok(stored.is_none_or(|hash| hash == request.request_hash))
}

/// What one step of the deletion has done.
#[derive(Debug)]
pub(crate) struct DeletionStep {
    /// How many keys it has deleted.
    pub(crate) keys: i64,
    /// When the newest of them was created.
    pub(crate) last: Option<DateTime<Utc>>,
}

/// Deletes the oldest `rows` of the keys that were created from `from` to just before `before`.
pub(crate) async fn delete_answers(
    pool: &PgPool,
    from: DateTime<Utc>,
    before: DateTime<Utc>,
    rows: i64,
) -> sqlx::Result<DeletionStep> {
    sqlx::query_as!(
        DeletionStep,
        r#"
        with old as materialized (
            select ctid, created_at from command.idempotency_keys
            where created_at >= $1 and created_at < $2
            order by created_at
            limit $3
        ), deleted as (
            delete from command.idempotency_keys where ctid = any(array(select ctid from old))
        )
        select count(*) as "keys!", max(created_at) as last from old
        "#,
        from,
        before,
        rows,
    )
    .fetch_one(pool)
    .await
}

/// Every key that was created before this time is deleted.
pub(crate) async fn idempotency_key_bound(pool: &PgPool) -> sqlx::Result<DateTime<Utc>> {
    let bound = sqlx::query_scalar!("select bound from command.idempotency_key_bounds order by id desc limit 1");
    Ok(bound.fetch_optional(pool).await?.unwrap_or(DateTime::UNIX_EPOCH))
}

/// Stores the bound, and deletes old ones.
pub(crate) async fn store_idempotency_key_bound(pool: &PgPool, bound: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        with stored as (
            insert into command.idempotency_key_bounds (bound) values ($1) returning id
        )
        delete from command.idempotency_key_bounds where id < (select id from stored) - $2
        "#,
        bound,
        BOUNDS_KEPT,
    )
    .execute(pool)
    .await?;
    Ok(())
}
