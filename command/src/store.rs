//! The SQL of the command service, as functions over a connection.
//!
//! A batch of commands is one statement. The request for a return takes a transaction, because it must sum the earlier
//! returns under the order's lock.

mod placements;
mod transitions;
mod returns;
mod audit;
mod idempotency_keys;
mod snapshots;

pub(crate) use idempotency_keys::{
    KnownAnswer, delete_answers, idempotency_key_bound, known_answer, store_idempotency_key_bound,
};
pub(crate) use placements::{NewOrder, NewOrderItem, PlacementOutcome, insert_orders};
pub(crate) use returns::{
    NewReturn, OrderUnderLock, UnreviewedReturn, insert_return, items_elsewhere, lock_order, unreviewed_returns,
};
pub(crate) use snapshots::{current_orders, current_returns};
pub(crate) use transitions::{NewTransition, Stored, TransitionOutcome, transition_orders, transition_returns};
