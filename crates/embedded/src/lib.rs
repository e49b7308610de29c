//! Private services: a Postgres and a `RabbitMQ` of our own, for `standalone`, the demo, tests and benchmarks.
//!
//! Invariants: they listen on 127.0.0.1 only and ask for a password. They are durable: nothing is switched off for speed.
//! None of their processes outlives the program that started them, not even after `kill -9`.

pub mod postgres;
pub mod rabbitmq;
pub mod child;

mod folder;
mod ports;
mod programs;

pub use ports::free_port;
