//! From a committed outbox row to an effect that happens once.
//!
//! - [`outbox`]: how a transaction adds events;
//! - [`retention`]: for how long outbox and inbox are kept;
//! - [`rabbitmq`] and [`intake`]: the optional broker between outbox and inbox (the Postgres queue needs no code
//!   here: the relay moves rows from one table to the other in one statement);
//! - [`leases`]: which shards of the log this process reads;
//! - [`inbox`]: deduplication, leases, attempts, back-off, dead jobs: the same for both transports;
//! - [`worker`]: runs a handler over the jobs of a queue, and retries by [`retry`];
//! - [`batch_size`]: batches that take too long are halved;
//! - [`looks`]: where loops begin that ask often what is due;
//! - [`unknown`]: how long an event waits that only a newer release knows;
//! - [`wakeup`]: NOTIFY as a hint, polling as the guarantee;
//! - [`log`]: the outbox as a log that is followed by position, and from which read models are rebuilt;
//! - [`snapshots`]: republishes what retention has dropped from that log;
//! - [`decoders`]: makes a job of a stored row, for the fuzz targets.
//!
//! Invariant: no other crate names `lapin`. No other crate writes `messaging.inbox`, except the relay (its forwarding
//! statement, and dead letters) and the operators' actions.

pub mod outbox;
pub mod retention;
pub mod rabbitmq;
pub mod intake;
pub mod fence;
pub mod leases;
pub mod log;
pub mod inbox;
pub mod unknown;
pub mod retry;
pub mod worker;
mod batch_size;
pub mod looks;
pub mod wakeup;
pub mod snapshots;
pub mod decoders;

pub use batch_size::BatchSize;
pub use rabbitmq::TransportConfig;
pub use retention::RetentionConfig;
pub use wakeup::{Hint, Wakeup};
