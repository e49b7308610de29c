//! The shared library of the whole-system tests.
//!
//! - [`services`]: one private Postgres and one private RabbitMQ per run, a database and a vhost per test;
//! - [`servers`]: S3, SMTP and OpenID Connect;
//! - [`collector`]: a collector of traces;
//! - [`system`]: a running system on such a database;
//! - [`api`]: its HTTP client, and answers with assertions;
//! - [`shop`]: orders and returns, brought into any state by real commands;
//! - [`portal`]: the answers of an invoice registration portal;
//! - [`events`]: events without a command;
//! - [`description`]: the operations that the description of the API names;
//! - [`books`]: checks that hold in the database after every test, and counts for assertions;
//! - [`waiting`]: conditions with a deadline instead of sleeps;
//! - [`old_entries`]: snapshots that are held open, and what loops read of what is settled;
//! - [`programs`]: builds the real programs;
//! - [`ordered`]: the proof that an ordered queue keeps the order of each aggregate;
//! - [`faults`]: the fault harness, which runs the real programs while everything around them breaks, or while another release
//!   takes their place.

pub mod services;
pub mod servers;
pub mod collector;
pub mod system;
pub mod api;
pub mod shop;
pub mod portal;
pub mod events;
pub mod description;
pub mod books;
pub mod waiting;
pub mod old_entries;
pub mod programs;
pub mod ordered;
pub mod faults;

mod rabbitmq;
mod traces;

pub use api::{Answer, Api};
pub use services::Database;
pub use system::System;
pub use waiting::eventually;
