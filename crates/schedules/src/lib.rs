//! Work that runs by the clock. A schedule is a name, a cron expression, a time zone and a handler.
//!
//! - [`timing`]: when a schedule is due, and which missed runs are caught up;
//! - [`schedule`]: how a process declares a schedule;
//! - [`runner`]: takes the lead, runs the handler, and records the run;
//! - [`store`]: the SQL over `messaging.schedules` and `messaging.schedule_runs`.
//!
//! Every instance of a process starts the schedules of that process. One instance leads, by a lease on the database's
//! clock. Due times come from the process's [`runtime::Clock`]. `outbox-relay/src/maintenance/partitions.rs` is an
//! example.
//!
//! Invariant: one run settles a due time. It may be *started* more than once, because a leader can die in the middle: a
//! handler must have the same effect when it runs again for the same due time.

mod timing;
mod schedule;
mod runner;
mod store;

pub use runner::{ATTEMPTS, Runner, Turn, start, switch_off};
pub use schedule::{Due, Missed, Schedule};
pub use store::{Asked, ask, delete_runs};
pub use timing::{Expression, ExpressionError};
