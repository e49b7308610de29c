//! What crosses a process border: events, queue names, documents, the payment gateway's API.
//!
//! Invariant: nothing here decides anything. The rules of orders and returns are in `domain`. A process that only reads
//! events (workers, query) depends on this crate and not on that one: it gets the names of the states from here, and
//! none of the decisions.

mod envelope;
mod documents;
pub mod named;
pub mod schema;
mod queues;
mod gateway;

pub use documents::{
    ActorType, Address, CreditNoteDocument, EntityType, InvoiceDocument, OrderDocument, OrderItemDocument,
    RefundDocument, RefundStatus, ReturnDocument, ReturnItemDocument, TaxDocument, TaxSummaryDocument, TaxSummaryLine,
    TaxTermsDocument, Transition, Trigger,
};
pub use domain::{OrderState, ReturnState, Supply};
pub use envelope::{Envelope, EventType, Headers, Retold, SCHEMA_VERSION, StateChanged, UnknownEventType};
pub use gateway::{GatewayRefund, GatewayRefundRequest, GatewayRefundStatus, IDEMPOTENCY_KEY_HEADER};
pub use queues::{Queue, UnknownQueue};

/// API-SPECIFICATION.yml: the REST API of all processes, generated from their code.
pub const API_SPECIFICATION: &str = include_str!("../../../API-SPECIFICATION.yml");
/// Response header of every command: `<entity>:<id>@<version>`. Sent back to the query service (same header, or
/// `?consistency=`), it makes the query wait until its read model has that version.
pub const CONSISTENCY_TOKEN_HEADER: &str = "x-consistency-token";
