//! Operator actions: the changes that operators make to outbox, inbox and queues.
//!
//! - [`replay`], [`skip`]: events in the outbox;
//! - [`release`]: events and jobs that wait;
//! - [`retry`], [`discard`]: dead jobs;
//! - [`bulk`]: all that a filter matches, in batches that survive a restart;
//! - [`pause`]: whole queues;
//! - [`schedule`]: what runs by the clock, at once;
//! - [`investigate`]: who looks into what;
//! - [`reveal`]: looking at what an event says of a customer;
//! - [`keys`]: the keys of callers;
//! - [`webhooks`]: where events are sent to.
//!
//! Invariant: every change is recorded in the transaction that makes it (`record`).

pub mod replay;
pub mod skip;
pub mod release;
pub mod retry;
pub mod discard;
pub mod pause;
pub mod schedule;
pub mod bulk;
pub mod investigate;
pub mod reveal;
pub mod keys;
pub mod webhooks;
pub mod export;
pub mod erase;
mod erasure;

pub mod dead;
mod hints;
mod record;

use serde::Serialize;
use utoipa::ToSchema;

pub use record::{Operator, Source};

/// What an operator action has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Changed {
    /// 0 when everything already was as requested.
    pub rows_changed: u64,
}
