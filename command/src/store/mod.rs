//! The SQL of the command side. Three statements carry slices; the request for a return, which must sum what was
//! returned before under the order's lock, takes a transaction.

mod transitions;
mod placements;
mod returns;
mod current;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

pub(crate) use current::{current_orders, current_returns};
pub(crate) use placements::{Placement, PlacementItem, PlacementOutcome, Placements};
pub(crate) use returns::{
    NewReturn, OrderUnderLock, Waiting, insert_return, items_elsewhere, known_answer, lock_order, unreviewed,
};
pub(crate) use transitions::{OrderTransitions, ReturnTransitions, Transition, TransitionOutcome};

use crate::intent::IdempotencyKey;

/// An answer that was given before under the same idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct KnownAnswer {
    pub(crate) request_hash: Vec<u8>,
    pub(crate) status: i16,
    /// The JSON document that was answered.
    pub(crate) body: String,
    pub(crate) entity_id: Uuid,
}

/// The optional key of each command of a slice, as columns.
#[derive(Default)]
struct KeyColumns<'a> {
    caller: Vec<Option<&'a str>>,
    route: Vec<Option<&'a str>>,
    key: Vec<Option<&'a str>>,
    request_hash: Vec<Option<&'a [u8]>>,
}

impl<'a> KeyColumns<'a> {
    fn push(&mut self, key: Option<&'a IdempotencyKey>) {
        self.caller.push(key.map(|key| key.caller.as_str()));
        self.route.push(key.map(|key| key.route.as_str()));
        self.key.push(key.map(|key| key.key.as_str()));
        self.request_hash.push(key.map(|key| key.request_hash.as_slice()));
    }
}

/// Deletes answers given before that time. Returns how many.
pub(crate) async fn forget_answers(pool: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let swept =
        sqlx::query!("delete from command.idempotency_keys where created_at < $1", before).execute(pool).await?;
    Ok(swept.rows_affected())
}
