//! One change of state: what changed, who changed it and why.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::names::names;

/// What an audit row or an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntityType {
    Order,
    Return,
    Invoice,
    CreditNote,
    Refund,
}

names!(EntityType {
    Order => "order", Return => "return", Invoice => "invoice", CreditNote => "credit_note", Refund => "refund",
});

/// Who acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ActorType {
    User,
    System,
}

names!(ActorType { User => "USER", System => "SYSTEM" });

/// What started a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trigger {
    ApiCall,
    BackgroundJob,
    Scheduler,
    Ops,
}

names!(Trigger { ApiCall => "API_CALL", BackgroundJob => "BACKGROUND_JOB", Scheduler => "SCHEDULER", Ops => "OPS" });

/// One row of the audit, as events carry it and `/history` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    pub entity_type: EntityType,
    pub entity_id: Uuid,
    /// The entity's version after the change.
    pub version: i32,
    /// Null at creation.
    pub from_state: Option<String>,
    pub to_state: String,
    pub actor: String,
    pub actor_type: ActorType,
    pub trigger: Trigger,
    pub reason: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub metadata: Value,
    pub ip_address: Option<String>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    pub created_at: DateTime<Utc>,
}
