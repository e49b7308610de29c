//! From a committed outbox row to an effect that happens once.
//!
//! - [`outbox`]: how a transaction adds events;
//! - [`rabbitmq`] and [`intake`]: the optional broker between outbox and inbox (the Postgres queue needs no code
//!   here: the relay moves rows from one table to the other in one statement);
//! - [`inbox`]: dedupe, leases, attempts, back-off, dead jobs: the same for both transports;
//! - [`worker`]: runs a handler over the jobs of a queue;
//! - [`wakeup`]: NOTIFY as a hint, polling as the guarantee;
//! - [`log`] and [`snapshots`]: what read models are made from anew.
//!
//! Invariant: no other crate names `lapin`, and no other crate writes `messaging.inbox` but the relay's
//! forwarding statement and its operators' acts.

pub mod outbox;
pub mod rabbitmq;
pub mod intake;
pub mod inbox;
pub mod retry;
pub mod worker;
pub mod wakeup;
pub mod log;
pub mod snapshots;

pub use rabbitmq::TransportConfig;
pub use wakeup::{Hint, Wakeup};
