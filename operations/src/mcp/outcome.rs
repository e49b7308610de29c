//! What came of an act, in a sentence.

use std::time::{Duration, Instant};

use runtime::ApiError;
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::read::outcome::{self, Line, Outcome};

/// How long an answer waits for relays and workers, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Events and jobs that an answer names.
const NAMED: usize = 20;

/// An act, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Acted {
    /// As `3 replayed: 2 delivered, 1 parked again (UNROUTABLE).`
    pub(super) outcome: String,
    /// Something may still change by itself: look again with `outcome`.
    is_under_way: bool,
    /// The number in the operator log. Null: nothing was changed, so nothing is recorded.
    action_id: Option<i64>,
    rows_changed: i64,
    /// The first 20 events and jobs, as they stand now.
    lines: Vec<ActedLine>,
}

/// An event, or its job in a queue, as it stands now.
#[derive(Debug, Serialize, ToSchema)]
struct ActedLine {
    event_id: Uuid,
    /// Null: the event itself.
    queue: Option<String>,
    /// As `delivered`, `parked again`, `done`, `dead again`.
    state: String,
    error: Option<String>,
}

impl Acted {
    /// How the act with this number stands.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn of(pool: &PgPool, action_id: i64) -> Result<Self, ApiError> {
        let not_found = || ApiError::not_found("ACTION_NOT_FOUND", "no operator action has this number");
        outcome::of(pool, action_id).await?.map(Self::from).ok_or_else(not_found)
    }

    /// The same once nothing of it is under way any more, or after a while.
    pub(super) async fn settled(pool: &PgPool, action_id: i64) -> Result<Self, ApiError> {
        let started = Instant::now();
        loop {
            let acted = Self::of(pool, action_id).await?;
            if !acted.is_under_way || started.elapsed() > PATIENCE {
                return Ok(acted);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// An act that found nothing to change, or a preview.
    pub(super) fn without_change(outcome: String) -> Self {
        Self { outcome, is_under_way: false, action_id: None, rows_changed: 0, lines: Vec::new() }
    }
}

impl From<Outcome> for Acted {
    fn from(outcome: Outcome) -> Self {
        let Outcome { action, sentence, lines, is_under_way, .. } = outcome;
        let lines = lines.into_iter().take(NAMED).map(ActedLine::from).collect();
        Self { outcome: sentence, is_under_way, action_id: Some(action.id), rows_changed: action.rows_changed, lines }
    }
}

impl From<Line> for ActedLine {
    fn from(line: Line) -> Self {
        Self { event_id: line.event_id, queue: line.queue, state: line.state, error: line.error }
    }
}
