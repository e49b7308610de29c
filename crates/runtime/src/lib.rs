//! What every process needs and none should write twice: settings, clock, telemetry, HTTP middleware, the database
//! pool, health, and an orderly end.
//!
//! Invariant: this crate depends on no other crate of the project, and knows nothing of orders, returns, events or
//! queues.

pub mod process;
pub mod config;
pub mod secrets;
pub mod http;
pub mod error;
pub mod request_id;
pub mod database;
pub mod health;
pub mod tasks;
pub mod shutdown;
pub mod telemetry;
pub mod metrics;
pub mod clock;
pub mod addresses;
pub mod backoff;
pub mod faults;
pub mod tls;
pub mod docs;

pub use clock::{Clock, Ids};
pub use error::{ApiError, ErrorBody, ErrorDetail, FieldErrors, Problem};
pub use tasks::Tasks;
