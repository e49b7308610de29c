//! The event envelope: the same on the Postgres queue, on RabbitMQ and in the inbox.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::transition::{EntityType, Transition};

/// One event as it travels. On RabbitMQ it is the JSON body; in Postgres its fields are columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// `UUIDv7`; the message id and, with the queue, the key of the inbox.
    pub event_id: Uuid,
    /// Kept as text: a consumer must be able to name a type it does not know.
    pub event_type: String,
    /// Kept as text for the same reason: the relay and the intake pass it on.
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    /// 1..n without a gap within an aggregate.
    pub aggregate_version: i32,
    pub occurred_at: DateTime<Utc>,
    #[serde(default)]
    pub headers: Headers,
    /// A [`StateChanged`] of the aggregate's document. The relay and the transports pass it on byte for byte.
    pub payload: Box<RawValue>,
}

/// What a consumer needs to continue the trace and the request that caused the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// W3C Trace Context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The shape of the payload; absent means 1, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
}

/// The shape of today's payloads, and the only one so far. A release that changes the shape sends another number, so that
/// an older consumer leaves the event to a newer one instead of misreading it.
pub const SCHEMA_VERSION: u32 = 1;

impl Headers {
    /// Whether this release can read the payload.
    pub fn schema_is_known(&self) -> bool {
        self.schema_version.is_none_or(|version| version == SCHEMA_VERSION)
    }
}

/// The payload of every event: the aggregate's full state after the change, and the change itself. [`EventType::SnapshotTaken`]
/// also has a `history`: every [`Transition`] so far, oldest first.
///
/// Because every event has the full state, the order of arrival does not matter: the highest version wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateChanged<T> {
    pub snapshot: T,
    pub transition: Transition,
}

/// Every event type. The names are in the past tense: a command says what to do, an event what has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    OrderCreated,
    OrderPaid,
    OrderProcessing,
    OrderShipped,
    OrderDelivered,
    OrderCancelled,
    /// A fact of the order was corrected; its state is what it was.
    OrderUpdated,
    /// The invoice was registered at the portal, and the answer entered; the state is what it was.
    OrderRegistered,
    /// The invoice is to be sent to the customer once more; the order is what it was.
    OrderInvoiceRequested,
    ReturnRequested,
    ReturnApproved,
    ReturnRejected,
    ReturnInTransit,
    ReturnReceived,
    ReturnCompleted,
    /// A fact of the return was corrected; its state is what it was.
    ReturnUpdated,
    InvoiceGenerated,
    /// An edition with the portal's registration is there.
    InvoiceRegistered,
    CreditNoteGenerated,
    RefundInitiated,
    /// The same, for money that is given back without a return or a cancellation. A credit note may follow.
    RefundGranted,
    /// The gateway may have paid it, or not.
    RefundInDoubt,
    /// It has been in doubt for long, and the customer is to know.
    RefundDelayed,
    RefundProcessed,
    RefundFailed,
    /// A refund that had failed is to be paid after all.
    RefundRetried,
    /// The customer's personal data was erased from the order; the state is what it was.
    OrderErased,
    /// The same for the others. It repeats the whole history, as a snapshot does.
    ReturnErased,
    RefundErased,
    InvoiceErased,
    CreditNoteErased,
    /// Nothing has happened. It republishes an aggregate's state and history, so that read models can be rebuilt after
    /// retention has dropped the events themselves.
    SnapshotTaken,
}

impl EventType {
    pub const ALL: [Self; 32] = [
        Self::OrderCreated,
        Self::OrderPaid,
        Self::OrderProcessing,
        Self::OrderShipped,
        Self::OrderDelivered,
        Self::OrderCancelled,
        Self::OrderUpdated,
        Self::OrderRegistered,
        Self::OrderInvoiceRequested,
        Self::ReturnRequested,
        Self::ReturnApproved,
        Self::ReturnRejected,
        Self::ReturnInTransit,
        Self::ReturnReceived,
        Self::ReturnCompleted,
        Self::ReturnUpdated,
        Self::InvoiceGenerated,
        Self::InvoiceRegistered,
        Self::CreditNoteGenerated,
        Self::RefundInitiated,
        Self::RefundGranted,
        Self::RefundInDoubt,
        Self::RefundDelayed,
        Self::RefundProcessed,
        Self::RefundFailed,
        Self::RefundRetried,
        Self::OrderErased,
        Self::ReturnErased,
        Self::RefundErased,
        Self::InvoiceErased,
        Self::CreditNoteErased,
        Self::SnapshotTaken,
    ];

    /// The name on the wire, which is also the RabbitMQ routing key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderCreated => "order.created",
            Self::OrderPaid => "order.paid",
            Self::OrderProcessing => "order.processing",
            Self::OrderShipped => "order.shipped",
            Self::OrderDelivered => "order.delivered",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderUpdated => "order.updated",
            Self::OrderRegistered => "order.registered",
            Self::OrderInvoiceRequested => "order.invoice_requested",
            Self::ReturnRequested => "return.requested",
            Self::ReturnApproved => "return.approved",
            Self::ReturnRejected => "return.rejected",
            Self::ReturnInTransit => "return.in_transit",
            Self::ReturnReceived => "return.received",
            Self::ReturnCompleted => "return.completed",
            Self::ReturnUpdated => "return.updated",
            Self::InvoiceGenerated => "invoice.generated",
            Self::InvoiceRegistered => "invoice.registered",
            Self::CreditNoteGenerated => "credit_note.generated",
            Self::RefundInitiated => "refund.initiated",
            Self::RefundGranted => "refund.granted",
            Self::RefundInDoubt => "refund.in_doubt",
            Self::RefundDelayed => "refund.delayed",
            Self::RefundProcessed => "refund.processed",
            Self::RefundFailed => "refund.failed",
            Self::RefundRetried => "refund.retried",
            Self::OrderErased => "order.erased",
            Self::ReturnErased => "return.erased",
            Self::RefundErased => "refund.erased",
            Self::InvoiceErased => "invoice.erased",
            Self::CreditNoteErased => "credit_note.erased",
            Self::SnapshotTaken => "snapshot.taken",
        }
    }

    /// The types of what is shown to others. A snapshot repeats what has happened, and is no news.
    pub fn news() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|known| *known != Self::SnapshotTaken)
    }

    /// Whether it tells of an erasure: what older events say of the aggregate holds no longer, its history included.
    pub const fn erases(self) -> bool {
        matches!(
            self,
            Self::OrderErased | Self::ReturnErased | Self::RefundErased | Self::InvoiceErased | Self::CreditNoteErased
        )
    }

    /// The type of the aggregates that have events of this type; none for snapshots, which any aggregate has.
    pub fn aggregate_type(self) -> Option<EntityType> {
        self.as_str().split_once('.').and_then(|(aggregate, _)| EntityType::parse(aggregate))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event type that this version of the program does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown event type {0:?}")]
pub struct UnknownEventType(String);

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| UnknownEventType(name.to_owned()))
    }
}
