//! Decodes inbox rows into rows of the read tables, in memory, once per batch.

use std::collections::{BTreeMap, HashSet};

use contracts::{EntityType, EventType};
use messaging::inbox::Job;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::columns::{IssuedColumns, OrderColumns, RefundColumns, ReturnColumns};

/// Why an event cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undecodable {
    /// Not by this release, but perhaps by a later one. All others are for ever.
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    Envelope(String),
    #[error("undecodable payload: {0}")]
    Payload(#[from] serde_json::Error),
    #[error("undecodable payload: the snapshot is not an object")]
    NotAnObject,
    #[error("undecodable payload: the credit note names no return")]
    NoSource,
    #[error("the envelope names {event}, its {part} names {found}")]
    Mismatch { event: String, part: &'static str, found: String },
}

/// The payload of every event. It is decoded no further than needed: the read models store its own text.
#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    snapshot: &'a RawValue,
    #[serde(borrow)]
    transition: &'a RawValue,
    /// Only in `snapshot.taken` and in erasures, which repeat every transition.
    #[serde(borrow, default)]
    history: Vec<&'a RawValue>,
}

/// What a transition says about itself.
#[derive(Deserialize)]
struct TransitionKey {
    entity_type: EntityType,
    entity_id: Uuid,
    version: i32,
}

/// One row of a read table.
pub(super) struct Row<'a, C> {
    pub(super) version: i32,
    pub(super) columns: C,
    /// The text of the snapshot, unchanged.
    pub(super) document: &'a str,
}

/// The newest row per key, because one statement cannot upsert a row twice. Sorted by key, because two projectors that lock
/// rows in the same order cannot deadlock.
pub(super) type Newest<'a, C> = BTreeMap<Uuid, Row<'a, C>>;

/// The key of a history entry: entity type, entity id, version.
pub(super) type HistoryKey = (&'static str, Uuid, i32);

/// An entry of a history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistoryEntry<'a> {
    pub(super) text: &'a str,
    /// It replaces what is known: an erasure repeats the whole history.
    pub(super) is_erased: bool,
}

/// The rows that one batch writes.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub(super) orders: Newest<'a, OrderColumns<'a>>,
    pub(super) returns: Newest<'a, ReturnColumns<'a>>,
    /// By order id.
    pub(super) invoices: Newest<'a, IssuedColumns<'a>>,
    /// By return id.
    pub(super) credit_notes: Newest<'a, IssuedColumns<'a>>,
    pub(super) refunds: Newest<'a, RefundColumns<'a>>,
    pub(super) history: BTreeMap<HistoryKey, HistoryEntry<'a>>,
    event_ids: Vec<Uuid>,
}

impl<'a> Batch<'a> {
    /// Decodes the events; the undecodable ones come back with the reason.
    pub(super) fn decode(jobs: &'a [Job]) -> (Self, Vec<(&'a Job, Undecodable)>) {
        Self::decode_with(jobs, |_| false)
    }

    /// As [`Batch::decode`], but leaves out a document when a newer version has `superseded` it.
    pub(crate) fn decode_with(
        jobs: &'a [Job],
        mut superseded: impl FnMut(&Job) -> bool,
    ) -> (Self, Vec<(&'a Job, Undecodable)>) {
        let mut batch = Self::default();
        let mut undecodable = Vec::new();
        for job in jobs {
            match batch.add(job, superseded(job)) {
                Ok(()) => batch.event_ids.push(job.event_id),
                Err(reason) => undecodable.push((job, reason)),
            }
        }
        (batch, undecodable)
    }

    /// The ids of the decoded events.
    pub(super) fn event_ids(&self) -> &[Uuid] {
        &self.event_ids
    }

    /// The entities of which this batch has a document.
    pub(super) fn documents(&self) -> HashSet<Uuid> {
        let issued = self.invoices.values().chain(self.credit_notes.values()).map(|row| row.columns.id);
        self.orders.keys().chain(self.returns.keys()).chain(self.refunds.keys()).copied().chain(issued).collect()
    }

    fn add(&mut self, job: &'a Job, superseded: bool) -> Result<(), Undecodable> {
        if let Some(reason) = &job.undecodable {
            return Err(Undecodable::Envelope(reason.clone()));
        }
        let (None, Some(kind)) = (&job.unknown, job.aggregate_type()) else {
            return Err(Undecodable::Unknown(job.unknown.clone().unwrap_or_default()));
        };
        let change: Change<'a> = serde_json::from_str(job.payload.get())?;
        let entries = decode_history(kind, job, &change)?;
        let document = change.snapshot.get();
        if !document.starts_with('{') {
            return Err(Undecodable::NotAnObject);
        }
        if !superseded {
            self.add_document(kind, job, document)?;
        }
        let is_erased = job.event_type().is_some_and(EventType::erases);
        for (key, text) in entries {
            let known = self.history.entry(key).or_insert(HistoryEntry { text, is_erased });
            if is_erased {
                *known = HistoryEntry { text, is_erased };
            }
        }
        Ok(())
    }

    fn add_document(&mut self, kind: EntityType, job: &Job, document: &'a str) -> Result<(), Undecodable> {
        let version = job.aggregate_version;
        match kind {
            EntityType::Order => {
                let columns: OrderColumns<'a> = serde_json::from_str(document)?;
                expect_same(job, kind, "snapshot", (kind, columns.id, columns.version))?;
                keep_newest(&mut self.orders, columns.id, Row { version, columns, document });
            }
            EntityType::Return => {
                let columns: ReturnColumns<'a> = serde_json::from_str(document)?;
                expect_same(job, kind, "snapshot", (kind, columns.id, columns.version))?;
                keep_newest(&mut self.returns, columns.id, Row { version, columns, document });
            }
            EntityType::Invoice => {
                let columns: IssuedColumns<'a> = serde_json::from_str(document)?;
                expect_same(job, kind, "snapshot", (kind, columns.id, version))?;
                keep_newest(&mut self.invoices, columns.order_id, Row { version, columns, document });
            }
            EntityType::CreditNote => {
                let columns: IssuedColumns<'a> = serde_json::from_str(document)?;
                expect_same(job, kind, "snapshot", (kind, columns.id, version))?;
                let source_id = columns.return_id.or(columns.refund_id).ok_or(Undecodable::NoSource)?;
                keep_newest(&mut self.credit_notes, source_id, Row { version, columns, document });
            }
            EntityType::Refund => {
                let columns: RefundColumns<'a> = serde_json::from_str(document)?;
                expect_same(job, kind, "snapshot", (kind, columns.id, columns.version))?;
                keep_newest(&mut self.refunds, columns.id, Row { version, columns, document });
            }
        }
        Ok(())
    }
}

/// The event's own transition, last, after the earlier ones that a `snapshot.taken` repeats.
fn decode_history<'a>(
    kind: EntityType,
    job: &Job,
    change: &Change<'a>,
) -> Result<Vec<(HistoryKey, &'a str)>, Undecodable> {
    let key: TransitionKey = serde_json::from_str(change.transition.get())?;
    expect_same(job, kind, "transition", (key.entity_type, key.entity_id, key.version))?;
    let mut entries = Vec::with_capacity(change.history.len() + 1);
    for repeated in &change.history {
        let key: TransitionKey = serde_json::from_str(repeated.get())?;
        expect_same(job, kind, "history", (key.entity_type, key.entity_id, job.aggregate_version))?;
        entries.push(((kind.as_str(), job.aggregate_id, key.version), repeated.get()));
    }
    entries.push(((kind.as_str(), job.aggregate_id, job.aggregate_version), change.transition.get()));
    Ok(entries)
}

fn keep_newest<'a, C>(rows: &mut Newest<'a, C>, key: Uuid, row: Row<'a, C>) {
    if rows.get(&key).is_none_or(|known| known.version < row.version) {
        rows.insert(key, row);
    }
}

/// An envelope that disagrees with its payload would store one aggregate's state under another's id.
fn expect_same(
    job: &Job,
    kind: EntityType,
    part: &'static str,
    found: (EntityType, Uuid, i32),
) -> Result<(), Undecodable> {
    if found == (kind, job.aggregate_id, job.aggregate_version) {
        return Ok(());
    }
    let (found_kind, id, version) = found;
    Err(Undecodable::Mismatch {
        event: format!("{kind}:{}@{}", job.aggregate_id, job.aggregate_version),
        part,
        found: format!("{found_kind}:{id}@{version}"),
    })
}
