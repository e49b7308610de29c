//! A batch of transitions, in one statement: lock, check, update, audit, outbox, stored answer.

use chrono::{DateTime, Utc};
use contracts::{EntityType, EventType};
use domain::{OrderState, ReturnState, State};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::audit::AuditColumns;
use super::idempotency_keys::{KeyColumns, KnownAnswer};
use crate::context::AuditRow;
use crate::idempotency::KeyedRequest;

/// A step of one order or return.
#[derive(Debug, Clone)]
pub(crate) struct NewTransition {
    pub(crate) id: Uuid,
    pub(crate) to_state: &'static str,
    pub(crate) at: DateTime<Utc>,
    /// Added to the aggregate's document.
    pub(crate) progress: Value,
    pub(crate) audit: AuditRow,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: EventType,
    pub(crate) traceparent: Option<String>,
    pub(crate) expected_version: Option<i32>,
    pub(crate) idempotency: Option<KeyedRequest>,
}

impl NewTransition {
    /// The only step of a correction: from its state to the same one.
    fn in_place(&self, applies: bool) -> LegalSteps {
        let state = applies.then_some(self.to_state);
        (Vec::from_iter(state), Vec::from_iter(state))
    }
}

/// What the statement did about one command.
#[derive(Debug)]
pub(crate) enum TransitionOutcome {
    NotFound,
    /// Another transaction has locked the aggregate; nothing was written.
    Locked,
    /// The same key was answered before.
    Known(KnownAnswer),
    /// Committed.
    Applied(Stored),
    /// The step is not legal from this state, or the version is not the expected one; nothing was written.
    Unchanged(Stored),
}

/// An order or a return as the database has it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) state: String,
    pub(crate) version: i32,
    /// The frozen document as JSON.
    pub(crate) document: String,
    /// What transitions have added to it, as JSON.
    pub(crate) progress: String,
}

/// A batch as columns for `unnest`.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    to_state: Vec<&'a str>,
    at: Vec<DateTime<Utc>>,
    progress: Vec<&'a Value>,
    event_id: Vec<Uuid>,
    event_type: Vec<&'a str>,
    traceparent: Vec<Option<&'a str>>,
    expected_version: Vec<Option<i32>>,
    audit: AuditColumns<'a>,
    keys: KeyColumns<'a>,
}

impl<'a> Columns<'a> {
    fn of(entity: EntityType, batch: &'a [NewTransition]) -> Self {
        let mut columns = Self::default();
        for command in batch {
            columns.id.push(command.id);
            columns.to_state.push(command.to_state);
            columns.at.push(command.at);
            columns.progress.push(&command.progress);
            columns.event_id.push(command.event_id);
            columns.event_type.push(command.event_type.as_str());
            columns.traceparent.push(command.traceparent.as_deref());
            columns.expected_version.push(command.expected_version);
            let link = command.audit.link(entity, command.id, command.to_state, command.at);
            columns.audit.push(&command.audit, link);
            columns.keys.push(command.idempotency.as_ref());
        }
        columns
    }
}

/// The steps that a statement may make, as two columns: from, to.
type LegalSteps = (Vec<&'static str>, Vec<&'static str>);

/// Every legal step. This is how SQL gets the table of `domain`.
fn legal_steps<S: State>() -> LegalSteps {
    S::ALL.iter().flat_map(|from| from.allowed().iter().map(|to| (from.as_str(), to.as_str()))).unzip()
}

struct Row {
    applied: bool,
    state: Option<String>,
    version: Option<i32>,
    document: Option<String>,
    progress: Option<String>,
    is_locked: Option<bool>,
    known_hash: Option<Vec<u8>>,
    known_status: Option<i16>,
    known_version: Option<i32>,
    known_body: Option<String>,
    known_id: Option<Uuid>,
}

impl From<Row> for TransitionOutcome {
    fn from(row: Row) -> Self {
        if let (Some(request_hash), Some(status), Some(version), Some(body), Some(entity_id)) =
            (row.known_hash, row.known_status, row.known_version, row.known_body, row.known_id)
        {
            return Self::Known(KnownAnswer { request_hash, status, version, body, entity_id });
        }
        let (Some(state), Some(version), Some(document), Some(progress)) =
            (row.state, row.version, row.document, row.progress)
        else {
            return if row.is_locked == Some(true) { Self::Locked } else { Self::NotFound };
        };
        let stored = Stored { state, version, document, progress };
        if row.applied { Self::Applied(stored) } else { Self::Unchanged(stored) }
    }
}

/// The statement, once for both tables: `sqlx::query!` takes its text as literals only.
///
/// `locked` takes the row locks and reads the latest committed version of each row. Everything after it is computed from
/// what it read. It skips a row that another transaction has locked, so that the other commands do not wait for that one;
/// only for a row that it has not read, the statement looks whether it exists.
///
/// `step` is what the batch will do, before the table is touched. If the update joined these sets itself, the planner
/// would compare each command with each locked row, and a batch of 32 would take half as long again.
///
/// `audited` and `published` are one row each. The main query joins them because a `select` in a CTE runs only when it
/// is read.
///
/// The frozen document is read, not written: event and stored answer need only what is new. `frozen` is that of the locked row,
/// `known` that of an answer that was given before.
macro_rules! transition_statement {
    ($conn:expr, $batch:expr, $legal:expr, table: $table:literal, kind: $kind:expr, entity: $entity:literal,
     columns: $columns:literal, frozen: $frozen:literal, known: $known:literal, also: $also:literal) => {{
        let (columns, (legal_from, legal_to)) = (Columns::of($kind, $batch), $legal);
        sqlx::query_as!(
            Row,
            r#"
            with command as materialized (
                select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::jsonb[], $5::uuid[], $6::text[], $7::text[], $8::int[],
                                     $9::text[], $10::text[], $11::text[], $12::text[], $13::jsonb[], $14::text[], $15::text[], $16::text[],
                                     $17::text[], $18::text[], $19::text[], $20::bytea[], $23::bytea[], $24::bytea[])
                    with ordinality as command (id, to_state, at, progress, event_id, event_type, traceparent, expected_version,
                                                actor, actor_type, trigger, reason, metadata, ip_address, request_id, trace_id,
                                                caller, route, key, request_hash, salt, digest, n)
            ), known as materialized (
                select n, answer.request_hash, answer.status, answer.version, answer.entity_id,
                       command.whole("# + $known + r#", answer.progress, answer.state, answer.version) as body
                from command join command.idempotency_keys as answer using (caller, route, key)
                join "# + $table + r#" as entity on entity.id = answer.entity_id
            ), locked as materialized (
                select id, state, version, progress, link, link_version, "# + $columns + r#" from "# + $table + r#"
                where id = any($1) order by id for update skip locked
            ), legal as materialized (
                select * from unnest($21::text[], $22::text[]) as legal (state, to_state)
            ), step as materialized (
                select command.*, state as from_state, locked.version + 1 as version, locked.progress || command.progress as merged,
                       command.linked(link, link_version, "# + $entity + r#", locked.id, locked.version, digest) as hash
                from command join locked using (id) join legal using (state, to_state)
                where (expected_version is null or expected_version = locked.version)
                  and not exists (select from known where known.n = command.n)
            ), changed as (
                update "# + $table + r#" as entity
                set state = to_state, version = step.version, progress = merged, updated_at = at,
                    link = step.hash, link_version = step.version"# + $also + r#"
                from step
                where entity.id = step.id
                returning step.*
            ), audited as materialized (
                select command.append_linked(array_agg(row(
                           "# + $entity + r#", id, version, from_state, to_state, actor, actor_type, trigger, reason, metadata,
                           ip_address::inet, request_id, trace_id, at, salt, digest)::command.new_transition), array_agg(hash))
                from changed
            ), published as materialized (
                select messaging.append_events("# + $entity + r#", array_agg(event_id), array_agg(id), array_agg(version),
                           array_agg(event_type), array_agg(merged), array_agg(traceparent), array_agg(at))
                from (select * from changed order by n) as in_order
            ), remembered as (
                insert into command.idempotency_keys
                    (caller, route, key, request_hash, entity_type, entity_id, status, state, version, progress, created_at)
                select caller, route, key, request_hash, "# + $entity + r#", id, 200, to_state, version, merged, at
                from changed where key is not null
            )
            select changed.n is not null as "applied!", coalesce(changed.to_state, locked.state) as state,
                   coalesce(changed.version, locked.version) as version, "# + $frozen + r#"::text as document,
                   coalesce(changed.merged, locked.progress)::text as progress,
                   case when locked.id is null
                       then exists (select from "# + $table + r#" as entity where entity.id = command.id) end as is_locked,
                   known.request_hash as "known_hash?", known.status as "known_status?", known.version as "known_version?",
                   known.body as known_body, known.entity_id as "known_id?"
            from command cross join audited cross join published
            left join locked using (id) left join changed using (n) left join known using (n)
            order by n
            "#,
            &columns.id,
            &columns.to_state as _,
            &columns.at,
            &columns.progress as _,
            &columns.event_id,
            &columns.event_type as _,
            &columns.traceparent as _,
            &columns.expected_version as _,
            &columns.audit.actor as _,
            &columns.audit.actor_type as _,
            &columns.audit.trigger as _,
            &columns.audit.reason as _,
            &columns.audit.metadata as _,
            &columns.audit.ip_address as _,
            &columns.audit.request_id as _,
            &columns.audit.trace_id as _,
            &columns.keys.caller as _,
            &columns.keys.route as _,
            &columns.keys.key as _,
            &columns.keys.request_hash as _,
            &legal_from as _,
            &legal_to as _,
            &columns.audit.salt as _,
            &columns.audit.digest as _,
        )
        .fetch_all($conn)
        .await?
    }};
}

/// Carries out a batch of transitions of orders: all of it commits, or none. Returns one outcome per command, in the
/// same order.
pub(crate) async fn transition_orders(
    conn: &mut PgConnection,
    batch: &[NewTransition],
) -> sqlx::Result<Vec<TransitionOutcome>> {
    orders(conn, batch, legal_steps::<OrderState>()).await
}

/// The same for returns.
pub(crate) async fn transition_returns(
    conn: &mut PgConnection,
    batch: &[NewTransition],
) -> sqlx::Result<Vec<TransitionOutcome>> {
    returns(conn, batch, legal_steps::<ReturnState>()).await
}

/// Changes facts of an order that stays in its state; only reads it when nothing `applies`.
pub(crate) async fn correct_order(
    conn: &mut PgConnection,
    correction: NewTransition,
    applies: bool,
) -> sqlx::Result<TransitionOutcome> {
    let outcomes = orders(conn, std::slice::from_ref(&correction), correction.in_place(applies)).await?;
    outcomes.into_iter().next().ok_or(sqlx::Error::RowNotFound)
}

/// The same for a return.
pub(crate) async fn correct_return(
    conn: &mut PgConnection,
    correction: NewTransition,
    applies: bool,
) -> sqlx::Result<TransitionOutcome> {
    let outcomes = returns(conn, std::slice::from_ref(&correction), correction.in_place(applies)).await?;
    outcomes.into_iter().next().ok_or(sqlx::Error::RowNotFound)
}

async fn orders(
    conn: &mut PgConnection,
    batch: &[NewTransition],
    legal: LegalSteps,
) -> sqlx::Result<Vec<TransitionOutcome>> {
    let rows = transition_statement!(conn, batch, legal,
        table: "command.orders", kind: EntityType::Order, entity: "'order'", columns: "document", frozen: "locked.document", known: "entity.document",
        also: ", delivered_at = case when to_state = 'DELIVERED' and from_state <> to_state then at else entity.delivered_at end");
    Ok(rows.into_iter().map(Into::into).collect())
}

async fn returns(
    conn: &mut PgConnection,
    batch: &[NewTransition],
    legal: LegalSteps,
) -> sqlx::Result<Vec<TransitionOutcome>> {
    let rows = transition_statement!(conn, batch, legal,
        table: "command.returns", kind: EntityType::Return, entity: "'return'", columns: "document, items",
        frozen: "command.with_items(locked.document, locked.items, coalesce(changed.merged, locked.progress))",
        known: "command.with_items(entity.document, entity.items, answer.progress)", also: "");
    Ok(rows.into_iter().map(Into::into).collect())
}
