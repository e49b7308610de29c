//! The audit rows of a batch, as columns for `unnest`.

use contracts::audit::{ChainLink, Hash};
use serde_json::Value;

use crate::context::AuditRow;

#[derive(Default)]
pub(super) struct AuditColumns<'a> {
    pub(super) actor: Vec<&'a str>,
    pub(super) actor_type: Vec<&'a str>,
    pub(super) trigger: Vec<&'a str>,
    pub(super) reason: Vec<Option<&'a str>>,
    pub(super) metadata: Vec<&'a Value>,
    pub(super) ip_address: Vec<Option<&'a str>>,
    pub(super) request_id: Vec<Option<&'a str>>,
    pub(super) trace_id: Vec<Option<&'a str>>,
    pub(super) salt: Vec<[u8; 16]>,
    pub(super) digest: Vec<Hash>,
}

impl<'a> AuditColumns<'a> {
    pub(super) fn push(&mut self, row: &'a AuditRow, link: ChainLink) {
        self.actor.push(&row.actor);
        self.actor_type.push(row.actor_type.as_str());
        self.trigger.push(row.trigger.as_str());
        self.reason.push(row.reason.as_deref());
        self.metadata.push(&row.metadata);
        self.ip_address.push(row.ip_address.as_deref());
        self.request_id.push(row.request_id.as_deref());
        self.trace_id.push(row.trace_id.as_deref());
        self.salt.push(link.salt);
        self.digest.push(link.digest);
    }
}
