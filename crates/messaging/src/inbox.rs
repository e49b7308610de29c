//! The inbox: one narrow row per (queue, event). Its primary key is the dedupe memory, its status the job. The event itself
//! stays in the log.
//!
//! A *job* consumer (invoices, refunds, notifications) claims rows, works outside any transaction, and completes each row in
//! the transaction that writes the effect; see [`crate::worker`]. The projector follows the log, and has rows here only
//! for events that it could not read; see [`take_retried`].

mod job;
mod insert;
mod claim;
mod ordered;
mod lease;
mod bound;
mod outcome;
mod outage;
mod retried;
mod hasten;

use contracts::Queue;

pub(crate) use bound::Bound;
pub use claim::{Claim, Claimed, claim, give_back, hold, reclaim_expired, release, start_alone};
pub use hasten::hasten;
pub use insert::insert;
pub use job::Job;
pub(crate) use job::Row;
pub use lease::{WorkerLease, extend_lease, start_lease};
pub use ordered::{block, claim_in_order, is_ordered, settle};
pub use outage::{end_outage, note_outage, probe_again};
pub use outcome::{Next, complete, fail};
pub use retried::{RetriedFrom, dead_letter, finish_retried, postpone, take_retried};

/// The channel on which the consumers of a queue listen for hints.
pub fn channel(queue: Queue) -> String {
    format!("inbox_{queue}")
}
