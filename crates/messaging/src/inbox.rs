//! The inbox: one row per (queue, event). Its primary key is the dedupe memory, its status the job.
//!
//! There are two ways to consume it. A *batch* consumer (the projector) takes rows, applies them and finishes them in
//! one transaction. A *job* consumer (invoices, refunds, notifications) claims a row for a time, works outside any
//! transaction, and completes the row in the transaction that writes the effect; see [`crate::worker`].

mod job;
mod insert;
mod batch;
mod claim;
mod outcome;

use contracts::Queue;

pub use batch::{dead_letter, finish_batch, take_batch};
pub use claim::{claim, extend_lease, reclaim_expired, release};
pub use insert::insert;
pub use job::Job;
pub(crate) use job::Row;
pub use outcome::{Next, complete, fail};

/// The channel on which the consumers of a queue listen for hints.
pub fn channel(queue: Queue) -> String {
    format!("inbox_{queue}")
}
