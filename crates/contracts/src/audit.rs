//! The chain of the audit: what the hash of a row covers.
//!
//! A row's hash is SHA-256 of the hash of its predecessor, which is the row of the same entity with the version before, and of the
//! row's own digest. The service that makes the change computes the digest; the database, which knows the predecessor, adds it
//! (`command.append_transitions`, `command.linked`). Version and former state follow from the place in the chain.
//!
//! What may name a person enters as a salted digest of its own. When it is erased, the digest takes its place and the salt goes with
//! it: the chain holds, and nothing can be guessed from what is left.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::transition::{ActorType, EntityType, Transition, Trigger};

/// SHA-256.
pub type Hash = [u8; 32];

/// What a row of the audit says that may name a person.
#[derive(Debug, Clone, Copy)]
pub struct Personal<'a> {
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub metadata: &'a Value,
    pub ip_address: Option<&'a str>,
}

/// All else that it says, without the version and the former state.
#[derive(Debug, Clone, Copy)]
pub struct Impersonal<'a> {
    pub entity_type: EntityType,
    pub entity_id: Uuid,
    pub to_state: &'a str,
    pub actor_type: ActorType,
    pub trigger: Trigger,
    pub request_id: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub created_at: DateTime<Utc>,
}

/// What a new row of the audit needs for its place in the chain.
#[derive(Debug, Clone, Copy)]
pub struct ChainLink {
    /// Random. It goes when the personal fields are erased.
    pub salt: [u8; 16],
    pub digest: Hash,
}

impl ChainLink {
    pub fn new(personal: &Personal<'_>, impersonal: &Impersonal<'_>) -> Self {
        let salt = rand::random();
        Self { salt, digest: impersonal.digest(&personal.digest(&salt)) }
    }

    /// That of a row as events carry it.
    pub fn of(transition: &Transition) -> Self {
        let personal = Personal {
            actor: &transition.actor,
            reason: transition.reason.as_deref(),
            metadata: &transition.metadata,
            ip_address: transition.ip_address.as_deref(),
        };
        let impersonal = Impersonal {
            entity_type: transition.entity_type,
            entity_id: transition.entity_id,
            to_state: &transition.to_state,
            actor_type: transition.actor_type,
            trigger: transition.trigger,
            request_id: transition.request_id.as_deref(),
            trace_id: transition.trace_id.as_deref(),
            created_at: transition.created_at,
        };
        Self::new(&personal, &impersonal)
    }
}

/// The hash of a row, from that of its predecessor. The first row of an entity has none.
pub fn hash(predecessor: Option<&Hash>, digest: &Hash) -> Hash {
    Sha256::new().chain_update(predecessor.map_or(&[][..], |hash| hash)).chain_update(digest).finalize().into()
}

/// What the audit row of an erasure says of the rows before it: who acted, as they say since. In hexadecimal digits.
pub fn digest_of_actors<'a>(rows: impl Iterator<Item = (i32, &'a str)>) -> String {
    let mut fields = Fields(Sha256::new());
    for (version, actor) in rows {
        fields.bytes(&version.to_be_bytes());
        fields.text(Some(actor));
    }
    format!("{:x}", fields.0.finalize())
}

impl Personal<'_> {
    pub fn digest(&self, salt: &[u8]) -> Hash {
        let Self { actor, reason, metadata, ip_address } = self;
        // As the database keeps it: `::1` has many spellings.
        let ip_address =
            ip_address.map(|text| text.parse().map_or_else(|_| text.to_owned(), |ip: IpAddr| ip.to_string()));
        let mut fields = Fields(Sha256::new_with_prefix(salt));
        fields.text(Some(actor));
        fields.text(*reason);
        fields.json(metadata);
        fields.text(ip_address.as_deref());
        fields.0.finalize().into()
    }
}

impl Impersonal<'_> {
    pub fn digest(&self, personal: &Hash) -> Hash {
        let mut fields = Fields(Sha256::new_with_prefix(personal));
        fields.text(Some(self.entity_type.as_str()));
        fields.bytes(self.entity_id.as_bytes());
        fields.text(Some(self.to_state));
        fields.text(Some(self.actor_type.as_str()));
        fields.text(Some(self.trigger.as_str()));
        fields.text(self.request_id);
        fields.text(self.trace_id);
        fields.bytes(&self.created_at.timestamp_micros().to_be_bytes());
        fields.0.finalize().into()
    }
}

/// Hashes fields, each with its length, so that no two rows have the same bytes.
struct Fields(Sha256);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.0.update(u64::MAX.to_be_bytes()),
        }
    }

    /// Members in the order of their names: the database has an order of its own.
    fn json(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                self.bytes(b"{");
                for (name, member) in members {
                    self.text(Some(name));
                    self.json(member);
                }
                self.bytes(b"}");
            }
            Value::Array(elements) => {
                self.bytes(b"[");
                for element in elements {
                    self.json(element);
                }
                self.bytes(b"]");
            }
            Value::String(text) => {
                self.bytes(b"\"");
                self.text(Some(text));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => self.text(Some(&value.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn impersonal() -> Impersonal<'static> {
        Impersonal {
            entity_type: EntityType::Order,
            entity_id: Uuid::nil(),
            to_state: "PAID",
            actor_type: ActorType::User,
            trigger: Trigger::ApiCall,
            request_id: Some("r"),
            trace_id: None,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn every_field_counts() {
        let metadata = json!({ "a": 1, "b": [null, "x"] });
        let personal = Personal { actor: "asha", reason: None, metadata: &metadata, ip_address: Some("::1") };
        let original = impersonal().digest(&personal.digest(b"salt"));
        let empty = json!({});
        let other_personal = [
            Personal { actor: "ashas", ..personal },
            Personal { reason: Some(""), ..personal },
            Personal { metadata: &empty, ..personal },
            Personal { ip_address: None, ..personal },
        ];
        let mut others: Vec<_> =
            other_personal.iter().map(|other| impersonal().digest(&other.digest(b"salt"))).collect();
        others.push(impersonal().digest(&personal.digest(b"pepper")));
        let personal = personal.digest(b"salt");
        let row = impersonal();
        others.extend([
            Impersonal { entity_type: EntityType::Return, ..row }.digest(&personal),
            Impersonal { entity_id: Uuid::max(), ..row }.digest(&personal),
            Impersonal { to_state: "SHIPPED", ..row }.digest(&personal),
            Impersonal { actor_type: ActorType::System, ..row }.digest(&personal),
            Impersonal { trigger: Trigger::Ops, ..row }.digest(&personal),
            Impersonal { request_id: None, trace_id: Some("r"), ..row }.digest(&personal),
            Impersonal { created_at: DateTime::UNIX_EPOCH + chrono::Duration::microseconds(1), ..row }
                .digest(&personal),
        ]);
        others.push(original);
        let distinct: std::collections::HashSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
        assert_ne!(hash(None, &original), hash(Some(&original), &original));
    }

    #[test]
    fn neither_the_order_of_members_nor_the_spelling_of_an_address_counts() {
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let (one, other) =
            (read(r#"{"a": 1, "b": {"c": 0.5, "d": []}}"#), read(r#"{"b": {"d": [], "c": 0.5}, "a": 1}"#));
        let digest = |metadata, ip| Personal { actor: "a", reason: None, metadata, ip_address: Some(ip) }.digest(&[]);
        assert_eq!(digest(&one, "::1"), digest(&other, "0:0:0:0:0:0:0:1"));
        assert_ne!(digest(&one, "::1"), digest(&read(r#"{"a": 1, "b": {"c": 0.5, "d": {}}}"#), "::1"));
    }
}
