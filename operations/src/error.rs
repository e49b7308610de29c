//! What can be wrong with what an operator asks for.

use contracts::UnknownQueue;
use uuid::Uuid;

/// Why an operation was not carried out. The texts are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("there is no event {0}, and no order, return, invoice or refund of that id with events")]
    EventNotFound(Uuid),
    #[error("the event {id} cannot be skipped: {why}")]
    EventNotSkippable { id: Uuid, why: &'static str },
    #[error("nothing of the event {id} can be released: {why}")]
    NothingToRelease { id: Uuid, why: String },
    #[error("the event {0} has no job{in_queue}", in_queue = .1.map(|queue| format!(" in the queue {queue}")).unwrap_or_default())]
    JobNotFound(Uuid, Option<contracts::Queue>),
    #[error("the event {0} has no dead job; only dead jobs are retried")]
    JobNotDead(Uuid),
    #[error(transparent)]
    QueueNotFound(#[from] UnknownQueue),
    /// The field, and what is wrong with it.
    #[error("{0} {1}")]
    Invalid(&'static str, String),
    #[error(
        "{rows} events are selected, and at most {most} are replayed at once here: narrow it down, or use the command line"
    )]
    TooMany { rows: u64, most: u64 },
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}
