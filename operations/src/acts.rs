//! The record of what operators did: who, when, why. One row per act, in the act's transaction; nobody can change it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::OperationError;

/// Longest name of an actor and longest reason, in characters; as the table has them.
const MAX_ACTOR: usize = 128;
const MAX_REASON: usize = 1_000;
/// Acts shown of one event.
const ACTS_OF_ONE: i64 = 100;

/// Who acts, by which door, and why.
#[derive(Debug, Clone)]
pub struct Operator {
    actor: String,
    door: Door,
    reason: String,
    request_id: Option<String>,
}

/// How an act came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Cli,
    Rest,
}

impl Door {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "CLI",
            Self::Rest => "REST",
        }
    }
}

impl Operator {
    /// # Errors
    /// For a name or a reason that is missing or too long.
    pub fn new(actor: &str, door: Door, reason: &str, request_id: Option<String>) -> Result<Self, OperationError> {
        let text = |field, text: &str, most| {
            let text = text.trim();
            let fits = (1..=most).contains(&text.chars().count());
            let wrong = || OperationError::Invalid(field, format!("must be 1 to {most} characters long"));
            fits.then(|| text.to_owned()).ok_or_else(wrong)
        };
        let (actor, reason) = (text("actor", actor, MAX_ACTOR)?, text("reason", reason, MAX_REASON)?);
        Ok(Self { actor, door, reason, request_id })
    }

    pub(super) fn actor(&self) -> &str {
        &self.actor
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Replay,
    Skip,
    Release,
    Retry,
    Pause,
    Resume,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "REPLAY",
            Self::Skip => "SKIP",
            Self::Release => "RELEASE",
            Self::Retry => "RETRY",
            Self::Pause => "PAUSE",
            Self::Resume => "RESUME",
        }
    }
}

/// One act.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Act {
    pub id: i64,
    pub acted_at: DateTime<Utc>,
    pub actor: String,
    /// `CLI`, `REST` or `CONSOLE`.
    pub door: String,
    /// `REPLAY`, `SKIP`, `RELEASE`, `RETRY`, `PAUSE` or `RESUME`.
    pub act: String,
    /// What was asked for, and in `event_ids` what it came to.
    #[schema(value_type = Object)]
    pub target: Value,
    pub reason: String,
    pub rows_changed: i64,
    pub request_id: Option<String>,
}

/// Records an act in the transaction that carries it out.
pub(super) async fn record(
    conn: &mut PgConnection,
    operator: &Operator,
    kind: Kind,
    target: Value,
    rows_changed: u64,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into messaging.operator_actions (actor, source, action, target, reason, rows_changed, request_id)
        values ($1, $2, $3, $4, $5, $6, $7)
        "#,
        operator.actor,
        operator.door.as_str(),
        kind.as_str(),
        target,
        operator.reason,
        i64::try_from(rows_changed).unwrap_or(i64::MAX),
        operator.request_id,
    )
    .execute(conn)
    .await?;
    tracing::info!(actor = operator.actor, act = kind.as_str(), rows_changed, reason = operator.reason, "operator act");
    Ok(())
}

/// The last acts, newest first.
pub async fn list(pool: &PgPool, limit: i64) -> Result<Vec<Act>, OperationError> {
    let acts = sqlx::query_as!(
        Act,
        r#"
        select id, acted_at, actor, source as door, action as act, target, reason, rows_changed, request_id
        from messaging.operator_actions order by id desc limit $1
        "#,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(acts)
}

/// What was done to any of these events, oldest first.
pub(super) async fn about(pool: &PgPool, event_ids: &[Uuid]) -> sqlx::Result<Vec<Act>> {
    let texts: Vec<String> = event_ids.iter().map(Uuid::to_string).collect();
    sqlx::query_as!(
        Act,
        r#"
        select id, acted_at, actor, source as door, action as act, target, reason, rows_changed, request_id
        from messaging.operator_actions where target -> 'event_ids' ?| $1 order by id limit $2
        "#,
        &texts,
        ACTS_OF_ONE,
    )
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_needs_a_name_and_a_reason() {
        let fits = |actor: &str, reason: &str| Operator::new(actor, Door::Cli, reason, None).is_ok();
        assert!(fits("anita", "the broker is back"));
        assert!(fits(&"ठ".repeat(MAX_ACTOR), &"क".repeat(MAX_REASON)));
        for (actor, reason) in [
            ("", "why"),
            ("anita", ""),
            ("anita", "  "),
            (&*"a".repeat(MAX_ACTOR + 1), "why"),
            ("anita", &*"a".repeat(MAX_REASON + 1)),
        ] {
            assert!(!fits(actor, reason), "{actor:?} {reason:?}");
        }
    }
}
