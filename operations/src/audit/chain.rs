//! Rule 11: the chain of the audit, and its seals.

use chrono::{DateTime, Utc};
use contracts::audit::{Hash, Impersonal, Personal, digest_of_actors, hash};
use contracts::{ActorType, EntityType, Trigger};
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::report::{Findings, Found, Rule};
use super::snapshot::Snapshot;

/// A row of the audit, as far as its hash covers it.
struct Row {
    entity_type: String,
    entity_id: Uuid,
    version: i32,
    to_state: String,
    actor: String,
    actor_type: String,
    trigger: String,
    reason: Option<String>,
    metadata: Json<Value>,
    ip_address: Option<String>,
    request_id: Option<String>,
    trace_id: Option<String>,
    created_at: DateTime<Utc>,
    salt: Option<Vec<u8>>,
    personal_digest: Option<Vec<u8>>,
    hash: Vec<u8>,
}

/// The rows of an entity before a row.
struct Before {
    entity_type: String,
    entity_id: Uuid,
    version: i32,
    hash: Vec<u8>,
    /// Versions, and who acted.
    actors: Vec<(i32, String)>,
    /// Whether some were erased, and no erasure is recorded so far.
    is_unvouched: bool,
}

pub(super) async fn check(snapshot: &mut Snapshot, findings: &mut Findings) -> sqlx::Result<()> {
    findings.add(Rule::Chain, broken_links(snapshot.connection()).await?);
    Ok(())
}

/// Rows that are not what their hash says, or do not follow on the row before.
async fn broken_links(conn: &mut PgConnection) -> sqlx::Result<Found> {
    let mut rows = sqlx::query_as!(
        Row,
        r#"
        select entity_type, entity_id, version, to_state, actor, actor_type, trigger, reason, metadata as "metadata: _",
               host(ip_address) as ip_address, request_id, trace_id, created_at, salt, personal_digest, hash
        from command.state_transitions order by entity_type, entity_id, version
        "#
    )
    .fetch(conn);
    let (mut found, mut before) = (Found::default(), None::<Before>);
    while let Some(row) = rows.try_next().await? {
        let mut same = None;
        match before.take() {
            Some(known) if known.entity_type == row.entity_type && known.entity_id == row.entity_id => {
                same = Some(known);
            }
            Some(other) => found.extend(other.unvouched()),
            None => {}
        }
        found.extend(row.fault(same.as_ref()));
        before = Some(row.after(same));
    }
    found.extend(before.and_then(|last| last.unvouched()));
    Ok(found)
}

impl Before {
    fn unvouched(&self) -> Option<String> {
        let Self { entity_type, entity_id, version, .. } = self;
        self.is_unvouched.then(|| {
            format!("{entity_type} {entity_id}@{version}: rows up to here were erased, and no erasure is recorded")
        })
    }
}

impl Row {
    /// The entity with this row.
    fn after(self, before: Option<Before>) -> Before {
        let (mut actors, was_unvouched) = before.map(|before| (before.actors, before.is_unvouched)).unwrap_or_default();
        let is_unvouched = self.personal_digest.is_some() || was_unvouched && !self.vouches_for(&actors);
        let Self { entity_type, entity_id, version, actor, hash, .. } = self;
        actors.push((version, actor));
        Before { entity_type, entity_id, version, hash, actors, is_unvouched }
    }

    /// Whether it is the row of an erasure, after which the rows before say of their actors what they say now.
    fn vouches_for(&self, actors: &[(i32, String)]) -> bool {
        let said = self.metadata.get("actors").and_then(Value::as_str);
        let actors = actors.iter().map(|(version, actor)| (*version, actor.as_str()));
        self.trigger == Trigger::Ops.as_str() && said == Some(&digest_of_actors(actors))
    }

    /// What is wrong with it, if anything.
    fn fault(&self, before: Option<&Before>) -> Option<String> {
        let Self { entity_type, entity_id, version, .. } = self;
        let expected = before.map_or(1, |before| before.version + 1);
        if *version != expected {
            return Some(format!("{entity_type} {entity_id}@{expected} was removed: the next row is @{version}"));
        }
        let is_empty = self.reason.is_none() && self.ip_address.is_none() && self.metadata.0 == json!({});
        if self.personal_digest.is_some() && !is_empty {
            return Some(format!("{entity_type} {entity_id}@{version} was erased, and says something since"));
        }
        let predecessor = before.map(|before| before.hash.as_slice());
        let computed =
            self.digest().and_then(|digest| Some(hash(predecessor.map(TryInto::try_into).transpose().ok()?, &digest)));
        (computed.as_ref().map(Hash::as_slice) != Some(&self.hash)).then(|| {
            format!("{entity_type} {entity_id}@{version} is not what was written, or does not follow on the row before")
        })
    }

    /// `None` when a column has what the service cannot have written.
    fn digest(&self) -> Option<Hash> {
        let personal = match (&self.salt, &self.personal_digest) {
            (Some(salt), None) => {
                let (reason, ip_address) = (self.reason.as_deref(), self.ip_address.as_deref());
                Personal { actor: &self.actor, reason, metadata: &self.metadata, ip_address }.digest(salt)
            }
            (_, digest) => digest.as_deref()?.try_into().ok()?,
        };
        let impersonal = Impersonal {
            entity_type: EntityType::parse(&self.entity_type)?,
            entity_id: self.entity_id,
            to_state: &self.to_state,
            actor_type: ActorType::parse(&self.actor_type)?,
            trigger: Trigger::parse(&self.trigger)?,
            request_id: self.request_id.as_deref(),
            trace_id: self.trace_id.as_deref(),
            created_at: self.created_at,
        };
        Some(impersonal.digest(&personal))
    }
}
