//! Acts on all that a filter matches, however many: replays, retries and discards that survive the process that began them.
//!
//! - `preview`: how many there are, of which kinds, and some of them;
//! - [`start`] and [`cancel`]: each is recorded as an operator action;
//! - `batch`: one batch, its record and its progress in one transaction;
//! - `runner`: a process that does batches; every `ops` process is one, and so is the command line that waits.

mod preview;
mod batch;
mod runner;

use std::num::NonZeroU32;

use contracts::Queue;
use runtime::Ids;
use runtime::database::in_transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::dead::DeadFilter;
use super::record::{Action, Operator, record};
use super::replay::{Page, Selection};
use crate::OperationError;
use crate::read::bulk::{self, BulkAct};

pub use preview::{BulkGroup, BulkPreview, Effort, Sampled, preview};
pub use runner::{Stepped, run, step};

/// The greatest pace that can be asked for, in rows per second.
pub const FASTEST: u32 = 10_000;

/// What is done to all that a filter matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BulkVerb {
    Replay,
    Retry,
    Discard,
}

/// An act and what it is done to.
#[derive(Debug, Clone)]
pub enum BulkWork {
    Replay(Selection),
    Retry(DeadFilter),
    Discard(DeadFilter),
}

impl BulkWork {
    pub(crate) const fn verb(&self) -> BulkVerb {
        match self {
            Self::Replay(_) => BulkVerb::Replay,
            Self::Retry(_) => BulkVerb::Retry,
            Self::Discard(_) => BulkVerb::Discard,
        }
    }

    fn selection(&self) -> Value {
        match self {
            Self::Replay(events) => json!(events),
            Self::Retry(jobs) | Self::Discard(jobs) => json!(jobs),
        }
    }

    /// As it stands in the database.
    fn parse(act: &str, selection: Value) -> Result<Self, OperationError> {
        let parsed = match act {
            "REPLAY" => serde_json::from_value(selection).map(Self::Replay),
            "RETRY" => serde_json::from_value(selection).map(Self::Retry),
            _ => serde_json::from_value(selection).map(Self::Discard),
        };
        parsed.map_err(|error| OperationError::Invalid("selection", format!("cannot be read by this release: {error}")))
    }

    /// The queues whose workers have something to do after it.
    fn wakes(&self) -> Vec<Queue> {
        let (Self::Retry(jobs) | Self::Discard(jobs)) = self else { return Vec::new() };
        jobs.queue.map_or_else(|| Queue::ALL.to_vec(), |queue| vec![queue])
    }
}

impl BulkVerb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "REPLAY",
            Self::Retry => "RETRY",
            Self::Discard => "DISCARD",
        }
    }
}

/// Starts an act. It takes what is there now, and not what comes later.
///
/// # Errors
/// When nothing matches, or the selection is wrong.
pub async fn start(
    pool: &PgPool,
    ids: &Ids,
    work: BulkWork,
    per_second: Option<NonZeroU32>,
    operator: &Operator,
) -> Result<BulkAct, OperationError> {
    if per_second.is_some_and(|rate| rate.get() > FASTEST) {
        return Err(OperationError::Invalid("per_second", format!("must be from 1 to {FASTEST}")));
    }
    let counted = preview(pool, &work, Effort::Thorough).await?;
    if counted.matched == 0 {
        return Err(OperationError::NothingSelected);
    }
    let work = up_to_now(work, &counted);
    let place = match &work {
        BulkWork::Replay(events) => Some(json!(Page::first(pool, events, batch::MOST).await?)),
        BulkWork::Retry(_) | BulkWork::Discard(_) => None,
    };
    let id = ids.next();
    let start = Start { id, work, place, counted, per_second, operator: operator.clone() };
    in_transaction(pool, move |conn| Box::pin(async move { insert(conn, &start).await })).await?;
    bulk::get(pool, id).await?.ok_or(OperationError::BulkActNotFound(id))
}

/// What occurs, or dies once more, while the act is under way is left alone.
fn up_to_now(work: BulkWork, counted: &BulkPreview) -> BulkWork {
    let until = |jobs: DeadFilter| DeadFilter { died_until: jobs.died_until.or(Some(counted.at)), ..jobs };
    match work {
        BulkWork::Replay(events) => BulkWork::Replay(Selection { to: events.to.or(Some(counted.at)), ..events }),
        BulkWork::Retry(jobs) => BulkWork::Retry(until(jobs)),
        BulkWork::Discard(jobs) => BulkWork::Discard(until(jobs)),
    }
}

struct Start {
    id: Uuid,
    work: BulkWork,
    place: Option<Value>,
    counted: BulkPreview,
    per_second: Option<NonZeroU32>,
    operator: Operator,
}

async fn insert(conn: &mut PgConnection, start: &Start) -> sqlx::Result<()> {
    let Start { id, work, place, counted, per_second, operator } = start;
    let (act, selection) = (work.verb().as_str(), work.selection());
    sqlx::query!(
        r#"
        insert into messaging.bulk_acts (id, act, selection, matched, is_counted, per_second, place, actor, source, reason, request_id)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        "#,
        id,
        act,
        selection,
        i64::try_from(counted.matched).unwrap_or(i64::MAX),
        counted.is_counted,
        per_second.and_then(|rate| i32::try_from(rate.get()).ok()),
        place.as_ref(),
        operator.actor(),
        operator.source(),
        operator.reason(),
        operator.request_id(),
    )
    .execute(&mut *conn)
    .await?;
    let target = json!({ "bulk_act": id, "act": act, "selection": selection, "matched": counted.matched });
    record(conn, operator, Action::StartBulk, target, 0).await
}

/// Ends an act before its next batch. What is done stays done.
///
/// # Errors
/// [`OperationError::BulkActNotFound`], and [`OperationError::BulkActEnded`].
pub async fn cancel(pool: &PgPool, id: Uuid, operator: Operator) -> Result<BulkAct, OperationError> {
    let is_cancelled = in_transaction(pool, move |conn| {
        Box::pin(async move {
            let acted = sqlx::query_scalar!(
                r#"
                update messaging.bulk_acts set status = 'CANCELLED', finished_at = clock_timestamp()
                where id = $1 and status = 'RUNNING'
                returning acted
                "#,
                id,
            )
            .fetch_optional(&mut *conn)
            .await?;
            if let Some(acted) = acted {
                let target = json!({ "bulk_act": id, "acted": acted });
                record(conn, &operator, Action::CancelBulk, target, 1).await?;
            }
            Ok::<_, OperationError>(acted.is_some())
        })
    })
    .await?;
    let act = bulk::get(pool, id).await?.ok_or(OperationError::BulkActNotFound(id))?;
    if is_cancelled { Ok(act) } else { Err(OperationError::BulkActEnded { id, status: act.status }) }
}
