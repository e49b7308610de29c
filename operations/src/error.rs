//! Why an operation is refused.

use contracts::{Queue, UnknownQueue};
use uuid::Uuid;

/// Why an operation was not carried out. Operators read these texts.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("no event has the id {0}, and no order, return, document or refund with that id has events")]
    EventNotFound(Uuid),
    #[error("no order has the number or id {0:?}, nor one of its returns, refunds, documents or events")]
    OrderNotFound(String),
    #[error("no return has the id {0}")]
    ReturnNotFound(Uuid),
    #[error("no invoice and no credit note has the id {0}")]
    DocumentNotFound(Uuid),
    #[error("there is no PDF of {number}: {why}")]
    NoPdf { number: String, why: String },
    #[error("the event {id} cannot be skipped: {why}")]
    EventNotSkippable { id: Uuid, why: &'static str },
    #[error("the event {id} has nothing to release: {why}")]
    NothingToRelease { id: Uuid, why: String },
    #[error("the event {0} has no job{in_queue}", in_queue = .1.map(|queue| format!(" in the queue {queue}")).unwrap_or_default())]
    JobNotFound(Uuid, Option<Queue>),
    #[error("the event {0} has no dead job; only dead jobs are retried or discarded")]
    JobNotDead(Uuid),
    #[error("no schedule has the name {0:?}: ops schedules lists them")]
    ScheduleNotFound(String),
    #[error("the schedule {name} cannot run now: {why}")]
    ScheduleNotRunnable { name: String, why: &'static str },
    #[error("no key has the id {0}")]
    KeyNotFound(Uuid),
    #[error("a key of the name {0:?} is valid already: rotate it, revoke it, or take another name")]
    KeyExists(String),
    #[error("the key {0} is revoked or rotated already")]
    KeyRevoked(Uuid),
    #[error(transparent)]
    QueueNotFound(#[from] UnknownQueue),
    /// A field, and what is wrong with it.
    #[error("{0} {1}")]
    Invalid(&'static str, String),
    #[error(
        "the selection has {events} events, and one request replays at most {limit}: narrow it down, or use the command line"
    )]
    ReplayTooLarge { events: u64, limit: u64 },
    #[error(
        "the replay stopped after {replayed} events, because too many events of the shard {shard} are not out: remove what \
         keeps the relay from sending them (ops doctor, ops stuck), then replay again"
    )]
    ReplayStalled { shard: i16, replayed: u64 },
    #[error("nothing matches: no event or dead job is left that this act could change")]
    NothingSelected,
    #[error("no bulk act has the id {0}")]
    BulkActNotFound(Uuid),
    #[error("the bulk act {id} has ended already: {status}")]
    BulkActEnded { id: Uuid, status: String },
    #[error("no order and no key belongs to the customer {0:?}")]
    CustomerNotFound(String),
    #[error("nothing was erased: {0}")]
    NotErasable(String),
    /// Some orders' documents are erased, and others are not.
    #[error("the documents of {done} orders are erased, those of {left} are not: {first}")]
    DocumentsLeft { done: u64, left: u64, first: String },
    #[error("the file {name} cannot be removed from the invoice store: {reason}")]
    FileLeft { name: String, reason: String },
    #[error("nothing was erased: the order {order_id} is not at rest: {why}; try again later")]
    NotAtRest { order_id: Uuid, why: String },
    #[error("no webhook endpoint has the id {0}")]
    WebhookNotFound(Uuid),
    #[error("the event {event_id} has no delivery to the endpoint {endpoint_id}")]
    DeliveryNotFound { endpoint_id: Uuid, event_id: Uuid },
    #[error("the endpoint {0} is disabled: enable it first")]
    WebhookDisabled(Uuid),
    #[error("the delivery is under way already; look at it again in a moment")]
    DeliveryUnderWay,
    #[error(
        "nothing was recovered: the workers have not read the log up to its end, because a transaction stays open or they cannot go on \
         (ops doctor says why); try again later"
    )]
    LogNotRead,
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}
