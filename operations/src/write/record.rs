//! The record of operator actions: who, when, why. One row per action, in the action's transaction; the table is
//! append-only.

use runtime::telemetry;
use serde_json::Value;
use sqlx::PgConnection;
use tracing::Span;
use uuid::Uuid;

use crate::OperationError;

/// Longest name of an actor and longest reason, in characters; the table has the same limits.
const MAX_ACTOR: usize = 128;
const MAX_REASON: usize = 1_000;
/// Links of one act to the traces of its events.
const MOST_LINKS: usize = 32;

/// Who acts, from where, and why.
#[derive(Debug, Clone)]
pub struct Operator {
    actor: String,
    source: Source,
    reason: String,
    request_id: Option<String>,
}

/// Where an action comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Cli,
    Rest,
    Console,
    Mcp,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "CLI",
            Self::Rest => "REST",
            Self::Console => "CONSOLE",
            Self::Mcp => "MCP",
        }
    }
}

impl Operator {
    /// # Errors
    /// For a name or a reason that is missing or too long, or would control the terminal that shows it.
    pub fn new(actor: &str, source: Source, reason: &str, request_id: Option<String>) -> Result<Self, OperationError> {
        let text = |field, text: &str, limit| {
            // Before the blanks around it are removed: a control character at the end is one all the same.
            let fits = contracts::check_text(text, limit, |_| false).is_ok();
            let wrong = || {
                OperationError::Invalid(
                    field,
                    format!("must be 1 to {limit} characters long, without control characters"),
                )
            };
            fits.then(|| text.trim().to_owned()).ok_or_else(wrong)
        };
        let (actor, reason) = (text("actor", actor, MAX_ACTOR)?, text("reason", reason, MAX_REASON)?);
        Ok(Self { actor, source, reason, request_id })
    }

    /// As it was recorded: it was checked then.
    pub(super) fn of_record(actor: String, source: &str, reason: String, request_id: Option<String>) -> Self {
        let source = [Source::Cli, Source::Rest, Source::Console, Source::Mcp]
            .into_iter()
            .find(|known| known.as_str() == source);
        Self { actor, source: source.unwrap_or(Source::Rest), reason, request_id }
    }

    pub(super) fn source(&self) -> &'static str {
        self.source.as_str()
    }

    pub(super) fn actor(&self) -> &str {
        &self.actor
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

/// The kinds of operator actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Replay,
    Skip,
    Release,
    Retry,
    Discard,
    Pause,
    Resume,
    RunSchedule,
    CreateKey,
    RotateKey,
    RevokeKey,
    ExportCustomer,
    EraseCustomer,
    EraseDocuments,
    CreateWebhook,
    ChangeWebhook,
    DeleteWebhook,
    RotateWebhook,
    TestWebhook,
    RedeliverWebhook,
    RecoverWebhook,
    Reveal,
    Investigate,
    CloseInvestigation,
    StartBulk,
    CancelBulk,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "REPLAY",
            Self::Skip => "SKIP",
            Self::Release => "RELEASE",
            Self::Retry => "RETRY",
            Self::Discard => "DISCARD",
            Self::Pause => "PAUSE",
            Self::Resume => "RESUME",
            Self::RunSchedule => "RUN_SCHEDULE",
            Self::CreateKey => "CREATE_KEY",
            Self::RotateKey => "ROTATE_KEY",
            Self::RevokeKey => "REVOKE_KEY",
            Self::ExportCustomer => "EXPORT_CUSTOMER",
            Self::EraseCustomer => "ERASE_CUSTOMER",
            Self::EraseDocuments => "ERASE_DOCUMENTS",
            Self::CreateWebhook => "CREATE_WEBHOOK",
            Self::ChangeWebhook => "CHANGE_WEBHOOK",
            Self::DeleteWebhook => "DELETE_WEBHOOK",
            Self::RotateWebhook => "ROTATE_WEBHOOK",
            Self::TestWebhook => "TEST_WEBHOOK",
            Self::RedeliverWebhook => "REDELIVER_WEBHOOK",
            Self::RecoverWebhook => "RECOVER_WEBHOOK",
            Self::Reveal => "REVEAL",
            Self::Investigate => "INVESTIGATE",
            Self::CloseInvestigation => "CLOSE_INVESTIGATION",
            Self::StartBulk => "START_BULK",
            Self::CancelBulk => "CANCEL_BULK",
        }
    }
}

/// Records an action in the transaction that carries it out. `target` is the request; its `event_ids` are the events
/// that were changed.
pub(super) async fn record(
    conn: &mut PgConnection,
    operator: &Operator,
    action: Action,
    target: Value,
    rows_changed: u64,
) -> sqlx::Result<()> {
    link(conn, &target["event_ids"]).await?;
    let Operator { actor, source, reason, request_id } = operator;
    let action = action.as_str();
    sqlx::query!(
        r#"
        insert into messaging.operator_actions (actor, source, action, target, reason, rows_changed, request_id)
        values ($1, $2, $3, $4, $5, $6, $7)
        "#,
        actor.as_str(),
        source.as_str(),
        action,
        target,
        reason.as_str(),
        i64::try_from(rows_changed).unwrap_or(i64::MAX),
        request_id.as_deref(),
    )
    .execute(conn)
    .await?;
    tracing::info!(actor, action, rows_changed, reason, "operator action");
    Ok(())
}

/// An act has a trace of its own, with links to those of the events that it is about.
async fn link(conn: &mut PgConnection, events: &Value) -> sqlx::Result<()> {
    let span = Span::current();
    let ids: Vec<Uuid> = events.as_array().into_iter().flatten().filter_map(id).take(MOST_LINKS).collect();
    if ids.is_empty() || !telemetry::is_recorded(&span) {
        return Ok(());
    }
    let traceparents = sqlx::query_scalar!(
        r#"
        select traceparent as "traceparent!" from messaging.outbox
        where event_id = any($1) and traceparent like '%-01'
        order by event_id
        "#,
        &ids,
    );
    for traceparent in traceparents.fetch_all(conn).await? {
        telemetry::link(&span, &traceparent);
    }
    Ok(())
}

fn id(value: &Value) -> Option<Uuid> {
    Uuid::try_parse(value.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_needs_a_name_and_a_reason() {
        let fits = |actor: &str, reason: &str| Operator::new(actor, Source::Cli, reason, None).is_ok();
        assert!(fits("anita", "the broker is back"));
        assert!(fits(&"ठ".repeat(MAX_ACTOR), &"क".repeat(MAX_REASON)));
        for (actor, reason) in [
            ("", "why"),
            ("anita", "\u{c}why"),
            ("anita", "why\n"),
            ("anita", "\u{200b}"),
            ("anita", ""),
            ("anita", "  "),
            ("anita", "done\u{1b}[2J"),
            ("anita\nroot", "why"),
            (&*"a".repeat(MAX_ACTOR + 1), "why"),
            ("anita", &*"a".repeat(MAX_REASON + 1)),
        ] {
            assert!(!fits(actor, reason), "{actor:?} {reason:?}");
        }
    }
}
