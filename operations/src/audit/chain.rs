//! Rule 11: the chain of the audit, and its seals.

use chrono::{DateTime, Utc};
use contracts::EntityType;
use contracts::audit::{Hash, Impersonal, Personal, hash};
use futures_util::TryStreamExt;
use serde_json::Value;
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

/// The row before, in the order of entities and versions.
struct Before {
    entity_type: String,
    entity_id: Uuid,
    version: i32,
    hash: Vec<u8>,
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
        let same = before.filter(|before| before.entity_type == row.entity_type && before.entity_id == row.entity_id);
        if let Some(fault) = row.fault(same.as_ref()) {
            found.push(fault);
        }
        let Row { entity_type, entity_id, version, hash, .. } = row;
        before = Some(Before { entity_type, entity_id, version, hash });
    }
    Ok(found)
}

impl Row {
    /// What is wrong with it, if anything.
    fn fault(&self, before: Option<&Before>) -> Option<String> {
        let Self { entity_type, entity_id, version, .. } = self;
        let expected = before.map_or(1, |before| before.version + 1);
        if *version != expected {
            return Some(format!("{entity_type} {entity_id}@{expected} was removed: the next row is @{version}"));
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
            actor_type: contracts::ActorType::parse(&self.actor_type)?,
            trigger: contracts::Trigger::parse(&self.trigger)?,
            request_id: self.request_id.as_deref(),
            trace_id: self.trace_id.as_deref(),
            created_at: self.created_at,
        };
        Some(impersonal.digest(&personal))
    }
}
