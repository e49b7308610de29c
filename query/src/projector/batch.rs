//! From inbox rows to rows of the read tables: in memory, once per batch.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use contracts::{EntityType, EventType, UnknownEventType};
use messaging::inbox::Job;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Why an event can never be applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Poison {
    #[error("{0}")]
    Envelope(String),
    #[error(transparent)]
    UnknownEventType(#[from] UnknownEventType),
    #[error("unknown aggregate type {0:?}")]
    UnknownAggregateType(String),
    #[error("undecodable payload: {0}")]
    Undecodable(#[from] serde_json::Error),
    #[error("undecodable payload: the snapshot is not an object")]
    NotAnObject,
    #[error("the event is about {event}, its {part} about {found}")]
    Mismatch { event: String, part: &'static str, found: String },
}

/// The payload of every event, not looked into further than needed: what is stored is its own text.
#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    snapshot: &'a RawValue,
    #[serde(borrow)]
    transition: &'a RawValue,
}

#[derive(Deserialize)]
struct Step {
    entity_type: EntityType,
    entity_id: Uuid,
    version: i32,
}

#[derive(Deserialize)]
pub(super) struct OrderColumns<'a> {
    id: Uuid,
    version: i32,
    #[serde(borrow)]
    pub(super) order_number: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) customer_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
    pub(super) created_at: DateTime<Utc>,
}

#[derive(Deserialize)]
pub(super) struct ReturnColumns<'a> {
    id: Uuid,
    version: i32,
    pub(super) order_id: Uuid,
    #[serde(borrow)]
    pub(super) order_number: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) customer_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) state: Cow<'a, str>,
    pub(super) created_at: DateTime<Utc>,
}

#[derive(Deserialize)]
pub(super) struct InvoiceColumns<'a> {
    id: Uuid,
    order_id: Uuid,
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct CreditNoteColumns<'a> {
    id: Uuid,
    return_id: Uuid,
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct RefundColumns {
    id: Uuid,
    version: i32,
    return_id: Uuid,
}

/// One row of a read table.
pub(super) struct Row<'a, C> {
    pub(super) version: i32,
    pub(super) columns: C,
    /// The snapshot as it came.
    pub(super) document: &'a str,
}

/// The newest row per key, because one statement cannot upsert a row twice; in order of the keys, because two
/// projectors that lock rows in the same order cannot deadlock.
type Newest<'a, C> = BTreeMap<Uuid, Row<'a, C>>;

/// Where an entry of the history belongs: entity type, entity, version.
pub(super) type HistoryKey = (&'static str, Uuid, i32);

/// What one batch writes.
#[derive(Default)]
pub(super) struct Batch<'a> {
    pub(super) orders: Newest<'a, OrderColumns<'a>>,
    pub(super) returns: Newest<'a, ReturnColumns<'a>>,
    /// By order.
    pub(super) invoices: Newest<'a, InvoiceColumns<'a>>,
    /// By return.
    pub(super) credit_notes: Newest<'a, CreditNoteColumns<'a>>,
    /// By return.
    pub(super) refunds: Newest<'a, RefundColumns>,
    pub(super) history: BTreeMap<HistoryKey, &'a str>,
    event_ids: Vec<Uuid>,
}

impl<'a> Batch<'a> {
    /// Sorts the events out; those that make no sense come back with the reason.
    pub(super) fn decode(jobs: &'a [Job]) -> (Self, Vec<(&'a Job, Poison)>) {
        let mut batch = Self::default();
        let mut poisoned = Vec::new();
        for job in jobs {
            match batch.add(job) {
                Ok(()) => batch.event_ids.push(job.event_id),
                Err(poison) => poisoned.push((job, poison)),
            }
        }
        (batch, poisoned)
    }

    /// The events that are in this batch.
    pub(super) fn event_ids(&self) -> &[Uuid] {
        &self.event_ids
    }

    /// The orders and returns that this batch brings forward.
    pub(super) fn documents(&self) -> HashSet<Uuid> {
        self.orders.keys().chain(self.returns.keys()).copied().collect()
    }

    fn add(&mut self, job: &'a Job) -> Result<(), Poison> {
        if let Some(poison) = &job.poison {
            return Err(Poison::Envelope(poison.clone()));
        }
        job.event_type.parse::<EventType>()?;
        let kind = EntityType::parse(&job.aggregate_type)
            .ok_or_else(|| Poison::UnknownAggregateType(job.aggregate_type.clone()))?;
        let change: Change<'a> = serde_json::from_str(job.payload.get())?;
        let step: Step = serde_json::from_str(change.transition.get())?;
        expect_about(kind, job, "transition", (step.entity_type, step.entity_id, step.version))?;

        let document = change.snapshot.get();
        if !document.starts_with('{') {
            return Err(Poison::NotAnObject);
        }
        let version = job.aggregate_version;
        match kind {
            EntityType::Order => {
                let columns: OrderColumns<'a> = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, columns.version))?;
                keep_newest(&mut self.orders, columns.id, Row { version, columns, document });
            }
            EntityType::Return => {
                let columns: ReturnColumns<'a> = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, columns.version))?;
                keep_newest(&mut self.returns, columns.id, Row { version, columns, document });
            }
            EntityType::Invoice => {
                let columns: InvoiceColumns<'a> = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, version))?;
                keep_newest(&mut self.invoices, columns.order_id, Row { version, columns, document });
            }
            EntityType::CreditNote => {
                let columns: CreditNoteColumns<'a> = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, version))?;
                keep_newest(&mut self.credit_notes, columns.return_id, Row { version, columns, document });
            }
            EntityType::Refund => {
                let columns: RefundColumns = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, columns.version))?;
                keep_newest(&mut self.refunds, columns.return_id, Row { version, columns, document });
            }
        }
        self.history.insert((kind.as_str(), job.aggregate_id, version), change.transition.get());
        Ok(())
    }
}

fn keep_newest<'a, C>(rows: &mut Newest<'a, C>, key: Uuid, row: Row<'a, C>) {
    if rows.get(&key).is_none_or(|known| known.version < row.version) {
        rows.insert(key, row);
    }
}

/// An envelope that disagrees with its payload would put one aggregate's state under another's name.
fn expect_about(kind: EntityType, job: &Job, part: &'static str, found: (EntityType, Uuid, i32)) -> Result<(), Poison> {
    if found == (kind, job.aggregate_id, job.aggregate_version) {
        return Ok(());
    }
    let (found_kind, id, version) = found;
    Err(Poison::Mismatch {
        event: format!("{kind}:{}@{}", job.aggregate_id, job.aggregate_version),
        part,
        found: format!("{found_kind}:{id}@{version}"),
    })
}
