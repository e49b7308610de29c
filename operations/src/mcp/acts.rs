//! The tools that change something. Each needs a reason, is recorded like every operator action, and answers what came of it.

use chrono::{DateTime, Utc};
use contracts::Queue;
use runtime::ApiError;
use runtime::http::parse_json;
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Call;
use super::answer::Answer;
use super::outcome::Acted;
use crate::Shared;
use crate::read::actions;
use crate::shared::operator;
use crate::write::replay::{self, Selection};
use crate::write::retry::{self, DeadJobs};
use crate::write::{Source, discard, pause, release, schedule, skip};

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Replay,
    Skip,
    Release,
    Retry,
    Discard,
    Pause,
    Resume,
    RunSchedule,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayArguments {
    /// Why, for the operator log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// The events with these ids.
    #[serde(default)]
    #[schema(max_items = 1000)]
    event_ids: Vec<Uuid>,
    /// Events of this type, as `order.shipped`.
    #[schema(max_length = 64)]
    event_type: Option<String>,
    /// Events of this order, return, document or refund.
    aggregate_id: Option<Uuid>,
    /// Events that occurred at this time or later (RFC 3339).
    from: Option<DateTime<Utc>>,
    /// Events that occurred before this time (RFC 3339).
    to: Option<DateTime<Utc>>,
    /// Only parked events.
    #[serde(default)]
    #[schema(default = false)]
    parked: bool,
    /// Only count what would be sent, and change nothing. Do this first.
    #[serde(default)]
    #[schema(default = false)]
    dry_run: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventArguments {
    /// Why, for the operator log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    event_id: Uuid,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobArguments {
    /// Why, for the operator log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    event_id: Uuid,
    /// Only the event's job in this queue.
    #[schema(inline)]
    queue: Option<Queue>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryArguments {
    /// Why, for the operator log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// The dead jobs of these events.
    #[serde(default)]
    #[schema(max_items = 1000)]
    event_ids: Vec<Uuid>,
    /// The dead jobs of this queue.
    #[schema(inline)]
    queue: Option<Queue>,
    /// All dead jobs.
    #[serde(default)]
    #[schema(default = false)]
    all: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueArguments {
    /// Why, for the operator log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    #[schema(inline)]
    queue: Queue,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleArguments {
    /// Why, for the operator log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Its name, as the tool `schedules` lists it.
    #[schema(max_length = 64)]
    schedule: String,
}

impl Act {
    /// Acts. `arguments` is JSON text.
    pub(super) async fn answer(self, shared: &Shared, call: &Call, arguments: &[u8]) -> Result<Answer, ApiError> {
        let pool = &shared.pool;
        let last = actions::last(pool).await?;
        let by = |reason: &str| operator(&call.caller, &call.context, Source::Mcp, reason);
        match self {
            Self::Replay => {
                let arguments: ReplayArguments = parse_json(arguments)?;
                if arguments.dry_run {
                    return preview(pool, &arguments.selection()).await;
                }
                replay::replay_at_once(pool, &arguments.selection(), &by(&arguments.reason)?).await?;
            }
            Self::Skip => {
                let EventArguments { reason, event_id } = parse_json(arguments)?;
                skip::skip(pool, event_id, by(&reason)?).await?;
            }
            Self::Release => {
                let JobArguments { reason, event_id, queue } = parse_json(arguments)?;
                release::release(pool, event_id, queue, by(&reason)?).await?;
            }
            Self::Retry => {
                let RetryArguments { reason, event_ids, queue, all } = parse_json(arguments)?;
                let selection = DeadJobs { event_ids, queue, all, customer_email: None };
                retry::retry(pool, &selection, &by(&reason)?).await?;
            }
            Self::Discard => {
                let JobArguments { reason, event_id, queue } = parse_json(arguments)?;
                discard::discard(pool, event_id, queue, by(&reason)?).await?;
            }
            Self::Pause => {
                let QueueArguments { reason, queue } = parse_json(arguments)?;
                pause::pause(pool, queue, by(&reason)?).await?;
            }
            Self::Resume => {
                let QueueArguments { reason, queue } = parse_json(arguments)?;
                pause::resume(pool, queue, by(&reason)?).await?;
            }
            Self::RunSchedule => {
                let ScheduleArguments { reason, schedule } = parse_json(arguments)?;
                schedule::run_now(pool, schedule, &shared.surroundings.clock, by(&reason)?).await?;
            }
        }
        let acted = match actions::first_after(pool, last, &call.context.request_id).await? {
            Some(id) => Acted::settled(pool, id).await?,
            None => Acted::without_change(
                "Nothing was changed: none of it was in a state that this act changes.".to_owned(),
            ),
        };
        Answer::done(acted.outcome.clone(), &acted)
    }
}

impl ReplayArguments {
    fn selection(&self) -> Selection {
        Selection {
            ids: self.event_ids.clone(),
            event_type: self.event_type.clone(),
            aggregate_id: self.aggregate_id,
            from: self.from,
            to: self.to,
            parked: self.parked,
        }
    }
}

async fn preview(pool: &PgPool, selection: &Selection) -> Result<Answer, ApiError> {
    let preview = replay::preview(pool, selection).await?;
    let groups: Vec<String> =
        preview.groups.iter().map(|group| format!("{} {} ({})", group.events, group.event_type, group.state)).collect();
    let events = if groups.is_empty() { "no event".to_owned() } else { groups.join(", ") };
    let acted = Acted::without_change(format!("Nothing was changed. A replay would send {events}."));
    Answer::done(acted.outcome.clone(), &acted)
}
