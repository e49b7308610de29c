//! The whole system, on real Postgres, RabbitMQ and Chromium. One binary, so that it is linked once.

mod audit_database;
mod broker;
mod errors;
mod faults;
mod fences;
mod flows;
mod gateway_faults;
mod hangups;
mod idempotency;
mod inbox;
mod invoice_store;
mod mail;
mod openapi;
mod operations;
mod projector;
mod queries;
mod races;
mod relay;
mod return_window;
mod takeover;
mod taxes;
mod transitions;
mod wire;
