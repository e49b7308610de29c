//! What crosses a process border: events, queue names, documents, the payment gateway's API.
//!
//! Invariant: nothing here decides anything. The rules of orders and returns are in `domain`. A process that only reads
//! events (workers, query) depends on this crate and not on that one: it gets the names of the states from here, and of the
//! rules only what a reader is shown: which actions are allowed, and which units may be returned.

mod envelope;
mod queues;
mod transition;
mod documents;
mod returnable;
mod actions;
mod values;
mod series;
mod email;
mod money;
mod country;
mod text;
mod gateway;
mod feed;
pub mod audit;
mod names;
pub mod named;
pub mod schema;

pub use actions::{OrderAction, ReturnAction};
pub use country::{country_code, country_name};
pub use documents::{
    Address, CreditNoteDocument, EInvoiceDocument, EditionDocument, FeeDocument, FeeKind, InvoiceDocument,
    InvoiceLineDocument, OrderDocument, OrderItemDocument, PartDocument, RefundDocument, RefundItemDocument,
    RefundKind, ReturnDocument, ReturnItemDocument, SupplierDocument, TaxDocument, TaxSummaryDocument, TaxSummaryLine,
    TaxTermsDocument, irn, without_the_shops_own,
};
pub use domain::{
    IndianState, OrderState, RefundShipping, RefundStatus, ReturnPolicy, ReturnState, Supply, last_day_to_reduce_tax,
};
pub use email::Email;
pub use envelope::{Envelope, EventType, Headers, SCHEMA_VERSION, StateChanged, UnknownEventType};
pub use feed::{EventData, EventDocument, EventName};
pub use gateway::{
    GatewayCallback, GatewayCallbackData, GatewayRefund, GatewayRefundRequest, GatewayRefundStatus,
    IDEMPOTENCY_KEY_HEADER,
};
pub use money::money;
pub use queues::{Queue, UnknownQueue};
pub use returnable::{UnitsTaken, order_for_return, returnable_units, units_taken};
pub use series::{InvalidNumber, Series, day_in_india, financial_year, india};
pub use text::{InvalidValue, check_text, is_control, is_invisible, pattern};
pub use transition::{ActorType, EntityType, Transition, Trigger};
pub use values::{CustomerId, Hsn, OrderNumber, Sku};

/// API-SPECIFICATION.yml: the REST API of all processes, generated from their code.
pub const API_SPECIFICATION: &str = include_str!("../../../API-SPECIFICATION.yml");
/// Response header of every command: `<entity>:<id>@<version>`. A client that sends it to the query service (as the same
/// header, or as `?consistency=`) gets an answer that has at least that version.
pub const CONSISTENCY_TOKEN_HEADER: &str = "x-consistency-token";
