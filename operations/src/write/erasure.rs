//! The erasure of one order, in one transaction under its lock.

use chrono::{DateTime, NaiveDate, Utc};
use contracts::audit::{ChainLink, Personal, digest_of_actors};
use contracts::{ActorType, EntityType, Transition, Trigger};
use runtime::Ids;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::record::Operator;
use crate::OperationError;

/// An order, or what belongs to it.
#[derive(Debug)]
pub(super) struct Part {
    kind: String,
    pub(super) id: Uuid,
    version: i32,
    /// `None` for a document that is not stored yet.
    state: Option<String>,
}

/// Locks an order and what belongs to it, and lists it, unless something is still to be done.
///
/// # Errors
/// [`OperationError::NotErasable`] with what is to be done, [`OperationError::NotAtRest`] with what is under way.
pub(super) async fn ready(conn: &mut PgConnection, order_id: Uuid) -> Result<Vec<Part>, OperationError> {
    let parts = sqlx::query_as!(
        Part,
        r#"select kind as "kind!", id as "id!", version as "version!", state from command.lock_for_erasure($1)"#,
        order_id,
    )
    .fetch_all(&mut *conn)
    .await?;
    for part in &parts {
        let Part { kind, id, state, .. } = part;
        let Some(state) = state else {
            return Err(OperationError::NotErasable(format!(
                "the {kind} {id} of the order {order_id} is still being made"
            )));
        };
        let is_final = match kind.as_str() {
            "order" => matches!(state.as_str(), "DELIVERED" | "CANCELLED"),
            "return" => matches!(state.as_str(), "COMPLETED" | "REJECTED"),
            // A FAILED one is money that the customer is still owed.
            "refund" => state == "PROCESSED",
            _ => true,
        };
        if !is_final {
            return Err(OperationError::NotErasable(format!(
                "the {kind} {id} is {state}; it must have come to its end"
            )));
        }
    }
    if awaits_registration(conn, order_id).await? {
        let why = format!("the invoice of the order {order_id} is still to be registered at the portal");
        return Err(OperationError::NotErasable(why));
    }
    let ids: Vec<Uuid> = parts.iter().map(|part| part.id).collect();
    if let Some(why) = under_way(conn, &ids).await? {
        return Err(OperationError::NotAtRest { order_id, why });
    }
    Ok(parts)
}

async fn awaits_registration(conn: &mut PgConnection, order_id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from work.invoices where order_id = $1 and awaits_registration) as "awaits!""#,
        order_id,
    )
    .fetch_one(conn)
    .await
}

/// What is still under way of these aggregates.
async fn under_way(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        r#"
        select why as "why!" from (
            select format('the job of %s in the queue %s is %s', event_id, queue, status) as why
            from messaging.open_jobs where aggregate_id = any($1)
            union all
            select format('the event %s is %s', event_id, lower(status))
            from messaging.outbox_exceptions where status <> 'SKIPPED' and aggregate_id = any($1)
            union all
            select format('the event %s has not been read by all (%s)', event_id, consumer)
            from messaging.outbox as event join messaging.last_marks as last on last.shard = event.shard
            where position > (select min(mark) from messaging.last_marks) and position > last.mark and aggregate_id = any($1)
        ) as open
        limit 1
        "#,
        ids,
    )
    .fetch_optional(conn)
    .await
}

/// The erasure of one order.
#[derive(Debug)]
pub(super) struct Erasure {
    pub(super) order_id: Uuid,
    pub(super) pseudonym: String,
    /// The names under which the customer acts.
    pub(super) named: Vec<String>,
    /// Whether what its tax documents print goes too.
    pub(super) tax: bool,
    pub(super) at: DateTime<Utc>,
    /// Until when that is kept otherwise.
    pub(super) until: Option<NaiveDate>,
    pub(super) operator: Operator,
}

/// The personal fields of an audit row.
struct PersonalRow {
    kind: String,
    id: Uuid,
    version: i32,
    actor: String,
    reason: Option<String>,
    metadata: Json<Value>,
    ip_address: Option<String>,
    salt: Option<Vec<u8>>,
}

impl Erasure {
    pub(super) async fn run(self, conn: &mut PgConnection) -> Result<(), OperationError> {
        let parts = ready(conn, self.order_id).await?;
        let ids: Vec<Uuid> = parts.iter().map(|part| part.id).collect();
        let rows = personal_rows(conn, &ids).await?;
        let rows: Vec<_> = rows.into_iter().map(|row| row.erased(&self.named)).collect();
        let made: Vec<Transition> = parts.iter().filter_map(|part| self.transition(part, &rows)).collect();
        // Those that an earlier erasure has passed are part of the record only.
        let rows: Vec<_> = rows.into_iter().filter_map(|row| Some((row.digest.clone()?, row))).collect();
        let digests: Vec<Vec<u8>> = rows.iter().map(|(digest, _)| digest.clone()).collect();
        let links: Vec<_> = made.iter().map(ChainLink::of).collect();
        let new_ids = Ids::system();
        sqlx::query!(
            r#"
            select command.erase_order(
                $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
                (select array_agg(row(kind, id, version, state, state, $16::text, 'USER', 'OPS', $17::text, metadata, null::inet,
                                      $18::text, null::text, $5, salt, digest)::command.new_transition order by n)
                 from unnest($11::text[], $12::uuid[], $13::int[], $14::text[], $19::bytea[], $20::bytea[], $21::jsonb[])
                     with ordinality as made (kind, id, version, state, salt, digest, metadata, n)),
                $15)
            "#,
            self.order_id,
            self.pseudonym,
            &rows.iter().map(|(_, row)| row.actor.clone()).collect::<Vec<_>>(),
            self.tax,
            self.at,
            self.until,
            &rows.iter().map(|(_, row)| row.kind.as_str()).collect::<Vec<_>>() as _,
            &rows.iter().map(|(_, row)| row.id).collect::<Vec<_>>(),
            &rows.iter().map(|(_, row)| row.version).collect::<Vec<_>>(),
            &digests,
            &made.iter().map(|made| made.entity_type.as_str()).collect::<Vec<_>>() as _,
            &made.iter().map(|made| made.entity_id).collect::<Vec<_>>(),
            &made.iter().map(|made| made.version).collect::<Vec<_>>(),
            &made.iter().map(|made| made.to_state.as_str()).collect::<Vec<_>>() as _,
            &made.iter().map(|_| new_ids.next()).collect::<Vec<_>>(),
            self.operator.actor(),
            self.operator.reason(),
            self.operator.request_id(),
            &links.iter().map(|link| link.salt.to_vec()).collect::<Vec<_>>(),
            &links.iter().map(|link| link.digest.to_vec()).collect::<Vec<_>>(),
            &made.iter().map(|made| &made.metadata).collect::<Vec<_>>() as _,
        )
        .fetch_one(conn)
        .await?;
        Ok(())
    }

    /// The audit row of the erasure: the state stays. It vouches for the actors that the erased rows keep, because nothing else in the
    /// chain does.
    fn transition(&self, part: &Part, rows: &[ErasedRow]) -> Option<Transition> {
        let state = part.state.clone()?;
        let own = rows.iter().filter(|row| row.kind == part.kind && row.id == part.id);
        let actors = digest_of_actors(own.map(|row| (row.version, row.actor.as_str())));
        Some(Transition {
            entity_type: EntityType::parse(&part.kind)?,
            entity_id: part.id,
            version: part.version + 1,
            from_state: Some(state.clone()),
            to_state: state,
            actor: self.operator.actor().to_owned(),
            actor_type: ActorType::User,
            trigger: Trigger::Ops,
            reason: Some(self.operator.reason().to_owned()),
            metadata: json!({ "actors": actors }),
            ip_address: None,
            request_id: self.operator.request_id().map(str::to_owned),
            trace_id: None,
            created_at: self.at,
        })
    }
}

/// A row of the audit after its erasure.
struct ErasedRow {
    kind: String,
    id: Uuid,
    version: i32,
    actor: String,
    /// `None`: it was erased before.
    digest: Option<Vec<u8>>,
}

async fn personal_rows(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<PersonalRow>> {
    sqlx::query_as!(
        PersonalRow,
        r#"
        select entity_type as kind, entity_id as id, version, actor, reason, metadata as "metadata: _", host(ip_address) as ip_address, salt
        from command.state_transitions
        where entity_type = any(array['order', 'return', 'refund', 'invoice', 'credit_note']) and entity_id = any($1)
        order by entity_type, entity_id, version
        "#,
        ids,
    )
    .fetch_all(conn)
    .await
}

impl PersonalRow {
    fn erased(self, named: &[String]) -> ErasedRow {
        let Self { kind, id, version, actor, reason, metadata, ip_address, salt } = self;
        let personal = Personal {
            actor: &actor,
            reason: reason.as_deref(),
            metadata: &metadata,
            ip_address: ip_address.as_deref(),
        };
        let digest = salt.map(|salt| personal.digest(&salt).to_vec());
        let is_customer = named.contains(&actor) || metadata.get("by_customer").is_some();
        let actor = if is_customer { "erased".to_owned() } else { actor };
        ErasedRow { kind, id, version, actor, digest }
    }
}
