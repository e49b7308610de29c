//! From inbox rows to rows of the read tables: in memory, once per batch.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use contracts::{EntityType, EventType, TaxSummaryDocument, UnknownEventType};
use messaging::inbox::Job;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Why an event can never be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Poison {
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
    #[error("undecodable payload: a credit note of no return")]
    NoReturn,
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
    /// Of a snapshot, which tells every step again.
    #[serde(borrow, default)]
    history: Vec<&'a RawValue>,
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
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    pub(super) subtotal_minor: i64,
    pub(super) discount_minor: i64,
    pub(super) shipping_minor: i64,
    #[serde(default)]
    pub(super) tax_minor: i64,
    pub(super) total_minor: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) paid_at: Option<DateTime<Utc>>,
    pub(super) processing_at: Option<DateTime<Utc>>,
    pub(super) shipped_at: Option<DateTime<Utc>>,
    pub(super) delivered_at: Option<DateTime<Utc>>,
    pub(super) cancelled_at: Option<DateTime<Utc>>,
    #[serde(borrow)]
    pub(super) items: Vec<ItemColumns<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ItemColumns<'a> {
    pub(super) line_no: i32,
    #[serde(borrow)]
    pub(super) sku: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) title: Cow<'a, str>,
    pub(super) quantity: i32,
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
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) refund_amount_minor: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) approved_at: Option<DateTime<Utc>>,
    pub(super) rejected_at: Option<DateTime<Utc>>,
    pub(super) in_transit_at: Option<DateTime<Utc>>,
    pub(super) received_at: Option<DateTime<Utc>>,
    pub(super) completed_at: Option<DateTime<Utc>>,
    #[serde(borrow)]
    pub(super) items: Vec<ReturnItemColumns<'a>>,
}

#[derive(Deserialize)]
pub(super) struct ReturnItemColumns<'a> {
    #[serde(borrow)]
    pub(super) sku: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) title: Cow<'a, str>,
    pub(super) reason: Option<Cow<'a, str>>,
    pub(super) quantity: i32,
    pub(super) amount_minor: i64,
}

/// Of an invoice or a credit note.
#[derive(Deserialize)]
pub(super) struct IssuedColumns<'a> {
    pub(super) id: Uuid,
    pub(super) order_id: Uuid,
    return_id: Option<Uuid>,
    #[serde(borrow)]
    pub(super) order_number: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) invoice_number: Cow<'a, str>,
    pub(super) credit_note_number: Option<Cow<'a, str>>,
    pub(super) invoiced_at: Option<DateTime<Utc>>,
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    pub(super) total_minor: i64,
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sha256: Cow<'a, str>,
    pub(super) issued_at: DateTime<Utc>,
    pub(super) tax: Option<TaxSummaryDocument>,
}

#[derive(Deserialize)]
pub(super) struct RefundColumns<'a> {
    id: Uuid,
    version: i32,
    return_id: Uuid,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    pub(super) amount_minor: i64,
    #[serde(borrow)]
    pub(super) currency: Cow<'a, str>,
    pub(super) processed_at: Option<DateTime<Utc>>,
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
pub(super) type Newest<'a, C> = BTreeMap<Uuid, Row<'a, C>>;

/// Where an entry of the history belongs: entity type, entity, version.
pub(super) type HistoryKey = (&'static str, Uuid, i32);

/// What one batch writes.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub(super) orders: Newest<'a, OrderColumns<'a>>,
    pub(super) returns: Newest<'a, ReturnColumns<'a>>,
    /// By order.
    pub(super) invoices: Newest<'a, IssuedColumns<'a>>,
    /// By return.
    pub(super) credit_notes: Newest<'a, IssuedColumns<'a>>,
    /// By return.
    pub(super) refunds: Newest<'a, RefundColumns<'a>>,
    pub(super) history: BTreeMap<HistoryKey, &'a str>,
    event_ids: Vec<Uuid>,
}

impl<'a> Batch<'a> {
    /// Sorts the events out; those that make no sense come back with the reason.
    pub(super) fn decode(jobs: &'a [Job]) -> (Self, Vec<(&'a Job, Poison)>) {
        Self::decode_with(jobs, |_| false)
    }

    /// The same, without the documents of which a newer version is `superseded`.
    pub(crate) fn decode_with(
        jobs: &'a [Job],
        mut superseded: impl FnMut(&Job) -> bool,
    ) -> (Self, Vec<(&'a Job, Poison)>) {
        let mut batch = Self::default();
        let mut poisoned = Vec::new();
        for job in jobs {
            match batch.add(job, superseded(job)) {
                Ok(()) => batch.event_ids.push(job.event_id),
                Err(poison) => poisoned.push((job, poison)),
            }
        }
        (batch, poisoned)
    }

    /// The events that are in this batch.
    pub(crate) fn event_ids(&self) -> &[Uuid] {
        &self.event_ids
    }

    /// The orders and returns that this batch brings forward.
    pub(super) fn documents(&self) -> HashSet<Uuid> {
        self.orders.keys().chain(self.returns.keys()).copied().collect()
    }

    fn add(&mut self, job: &'a Job, superseded: bool) -> Result<(), Poison> {
        if let Some(poison) = &job.undecodable {
            return Err(Poison::Envelope(poison.clone()));
        }
        job.event_type.parse::<EventType>()?;
        let kind = EntityType::parse(&job.aggregate_type)
            .ok_or_else(|| Poison::UnknownAggregateType(job.aggregate_type.clone()))?;
        let change: Change<'a> = serde_json::from_str(job.payload.get())?;
        let step: Step = serde_json::from_str(change.transition.get())?;
        expect_about(kind, job, "transition", (step.entity_type, step.entity_id, step.version))?;

        let mut steps = Vec::with_capacity(change.history.len());
        for told in change.history {
            let step: Step = serde_json::from_str(told.get())?;
            expect_about(kind, job, "history", (step.entity_type, step.entity_id, job.aggregate_version))?;
            steps.push(((kind.as_str(), job.aggregate_id, step.version), told.get()));
        }

        let document = change.snapshot.get();
        if !document.starts_with('{') {
            return Err(Poison::NotAnObject);
        }
        let version = job.aggregate_version;
        match kind {
            _ if superseded => {}
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
                let columns: IssuedColumns<'a> = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, version))?;
                keep_newest(&mut self.invoices, columns.order_id, Row { version, columns, document });
            }
            EntityType::CreditNote => {
                let columns: IssuedColumns<'a> = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, version))?;
                let return_id = columns.return_id.ok_or(Poison::NoReturn)?;
                keep_newest(&mut self.credit_notes, return_id, Row { version, columns, document });
            }
            EntityType::Refund => {
                let columns: RefundColumns<'a> = serde_json::from_str(document)?;
                expect_about(kind, job, "snapshot", (kind, columns.id, columns.version))?;
                keep_newest(&mut self.refunds, columns.return_id, Row { version, columns, document });
            }
        }
        for told in steps {
            self.history.insert(told.0, told.1);
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
