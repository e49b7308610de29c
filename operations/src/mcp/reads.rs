//! The tools that look.

use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::Queue;
use runtime::ApiError;
use runtime::http::parse_json;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::Answer;
use super::outcome::Acted;
use crate::Shared;
use crate::read::jobs::{Filter, JobStatus};
use crate::read::queues::QueueStatus;
use crate::read::webhooks::DeliveryStatus;
use crate::read::{actions, jobs, queues, schedules, show, status, story, stuck, webhooks};

/// The longest list. An assistant reads all of it.
const MOST: i64 = 200;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Status,
    Stuck,
    Event,
    Story,
    Jobs,
    Queues,
    Actions,
    Outcome,
    Schedules,
    Doctor,
    Audit,
    Webhooks,
    Deliveries,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StuckArguments {
    /// Seconds after which a waiting event or job counts as stuck.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64, default = 30)]
    older_than_seconds: Option<u32>,
    /// Most events, and most jobs, to list.
    #[schema(minimum = 1, maximum = 200, default = 20)]
    limit: Option<i64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventArguments {
    /// The id of an event, order, return, invoice, credit note or refund.
    id: Uuid,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StoryArguments {
    /// The order's number or id, or that of one of its returns, refunds, invoices, credit notes or events.
    #[schema(min_length = 1, max_length = 64)]
    of: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobsArguments {
    #[schema(inline)]
    queue: Option<Queue>,
    /// Unset: `dead` and `in_doubt`.
    #[schema(inline)]
    status: Option<JobStatus>,
    /// The type of the event, as `order.shipped`.
    #[schema(max_length = 64)]
    event_type: Option<String>,
    /// The last error contains it, in upper or lower case.
    #[schema(max_length = 200)]
    error: Option<String>,
    /// Only jobs that came at this time or later (RFC 3339).
    since: Option<DateTime<Utc>>,
    #[schema(minimum = 1, maximum = 200, default = 20)]
    limit: Option<i64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActionsArguments {
    #[schema(minimum = 1, maximum = 200, default = 20)]
    limit: Option<i64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeArguments {
    /// The number of the action in the operator log.
    action_id: i64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditArguments {
    /// Whether a backlog is a violation.
    #[serde(default)]
    #[schema(default = false)]
    drained: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveriesArguments {
    /// The id of the endpoint, as `webhooks` lists it.
    endpoint_id: Uuid,
    #[schema(inline)]
    status: Option<DeliveryStatus>,
    /// `next_before` of the page before.
    before: Option<Uuid>,
    #[schema(minimum = 1, maximum = 200, default = 20)]
    limit: Option<i64>,
}

/// All queues.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Queues {
    data: Vec<QueueStatus>,
}

/// The length of a list.
fn limit(given: Option<i64>) -> Result<i64, ApiError> {
    let limit = given.unwrap_or(20);
    let wrong = || ApiError::invalid_field("limit", format!("must be from 1 to {MOST}"));
    (1..=MOST).contains(&limit).then_some(limit).ok_or_else(wrong)
}

impl Read {
    /// Looks. `arguments` is JSON text.
    pub(super) async fn answer(self, shared: &Shared, arguments: &[u8]) -> Result<Answer, ApiError> {
        let pool = &shared.pool;
        match self {
            Self::Stuck => {
                let StuckArguments { older_than_seconds, limit: most } = parse_json(arguments)?;
                let patience =
                    older_than_seconds.map_or(stuck::PATIENCE, |seconds| Duration::from_secs(seconds.into()));
                Answer::found(&stuck::stuck(pool, patience, limit(most)?).await?)
            }
            Self::Event => {
                let EventArguments { id } = parse_json(arguments)?;
                Answer::found(&show::show(pool, id).await?)
            }
            Self::Story => {
                let StoryArguments { of } = parse_json(arguments)?;
                Answer::found(&story::tell(pool, &of).await?)
            }
            Self::Jobs => {
                let JobsArguments { queue, status, event_type, error, since, limit: most } = parse_json(arguments)?;
                let statuses = status.into_iter().collect();
                let filter = Filter { queue, statuses, limit: limit(most)?, event_type, error, since };
                Answer::found(&jobs::list(pool, &filter).await?)
            }
            Self::Actions => {
                let ActionsArguments { limit: most } = parse_json(arguments)?;
                let data = actions::matching(pool, actions::Matching::default(), limit(most)?).await?;
                Answer::found(&actions::Actions { data })
            }
            Self::Outcome => {
                let OutcomeArguments { action_id } = parse_json(arguments)?;
                let acted = Acted::of(pool, action_id).await?;
                Answer::done(acted.outcome.clone(), &acted)
            }
            Self::Audit => {
                let AuditArguments { drained } = parse_json(arguments)?;
                Answer::found(&shared.audit(drained).await?)
            }
            Self::Deliveries => {
                let DeliveriesArguments { endpoint_id, status, before, limit: most } = parse_json(arguments)?;
                Answer::found(&webhooks::deliveries(pool, endpoint_id, status, before, limit(most)?).await?)
            }
            Self::Status | Self::Queues | Self::Schedules | Self::Doctor | Self::Webhooks => {
                let NoArguments {} = parse_json(arguments)?;
                self.whole(shared).await
            }
        }
    }

    /// What needs no arguments.
    async fn whole(self, shared: &Shared) -> Result<Answer, ApiError> {
        let pool = &shared.pool;
        match self {
            Self::Queues => Answer::found(&Queues { data: queues::list(pool).await? }),
            Self::Schedules => Answer::found(&schedules::list(pool).await?),
            Self::Doctor => Answer::found(&shared.diagnosis().await),
            Self::Webhooks => Answer::found(&webhooks::endpoints(pool).await?),
            _ => Answer::found(&status::status(pool).await?),
        }
    }
}
