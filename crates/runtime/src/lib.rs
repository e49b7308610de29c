//! What every process needs and no process should write twice: settings, clock, telemetry, the HTTP edge, the
//! database pool, health, shutdown.
//!
//! Invariant: nothing here knows an order, a return, an event or a queue.

pub mod backoff;
pub mod clock;
pub mod config;
pub mod database;
pub mod docs;
pub mod error;
pub mod faults;
pub mod health;
pub mod http;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use clock::{Clock, Ids};
pub use error::{ApiError, FieldError, FieldErrors};
pub use tasks::Tasks;
