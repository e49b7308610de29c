//! What an act on all that a filter matches would do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::BulkWork;
use crate::OperationError;
use crate::read::redacted::without_addresses;
use crate::write::dead::{self, DeadFilter};
use crate::write::replay::{Page, Selection, find};

/// What one statement takes.
const PAGE: i64 = 2_000;
/// Events or jobs that are shown of all.
const SAMPLE: usize = 10;

/// When counting ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// At 10,000, or after a twentieth of a second if some are found: for a page.
    Quick,
    /// At 100,000. Every count ends after three seconds.
    Thorough,
}

impl Effort {
    fn is_spent(self, matched: u64, since: Instant) -> bool {
        let (most, time) = match self {
            Self::Quick if matched > 0 => (10_000, Duration::from_millis(50)),
            Self::Quick | Self::Thorough => (100_000, Duration::from_secs(3)),
        };
        matched >= most || since.elapsed() >= time
    }
}

/// What an act would do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct BulkPreview {
    /// The database's clock.
    pub at: DateTime<Utc>,
    pub matched: u64,
    /// Whether all are counted. Counting ends after 100,000 or three seconds; then there are more than `matched`.
    pub is_counted: bool,
    pub groups: Vec<BulkGroup>,
    /// The first ten.
    pub sample: Vec<Sampled>,
}

/// Events of one type in one state, or jobs of one queue for one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BulkGroup {
    /// The state of the events, or the queue of the jobs.
    pub of: String,
    pub event_type: String,
    pub number: u64,
}

/// One of those that match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sampled {
    pub event_id: Uuid,
    /// The state of the event, or the queue of the job.
    pub of: String,
    pub event_type: String,
    /// Without addresses of customers.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
struct Count {
    matched: u64,
    groups: BTreeMap<(String, String), u64>,
    sample: Vec<Sampled>,
}

/// Counts what an act would be done to; changes nothing.
///
/// # Errors
/// For a selection that is wrong.
pub async fn preview(pool: &PgPool, work: &BulkWork, effort: Effort) -> Result<BulkPreview, OperationError> {
    let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
    let mut count = Count::default();
    let is_counted = match work {
        BulkWork::Replay(events) => count.events(pool, events, effort).await?,
        BulkWork::Retry(jobs) | BulkWork::Discard(jobs) => count.jobs(pool, jobs, effort).await?,
    };
    let Count { matched, groups, sample } = count;
    let groups = groups.into_iter().map(|((of, event_type), number)| BulkGroup { of, event_type, number });
    Ok(BulkPreview { at, matched, is_counted, groups: groups.collect(), sample })
}

impl Count {
    async fn events(&mut self, pool: &PgPool, selection: &Selection, effort: Effort) -> Result<bool, OperationError> {
        selection.check(pool).await?;
        let (started, mut page) = (Instant::now(), Page::first(pool, selection, PAGE).await?);
        loop {
            let found = find(&mut *pool.acquire().await?, selection, page).await?;
            for group in found.groups {
                self.add(&group.state, &group.event_type, group.event_ids.len() as u64);
                for event_id in group.event_ids.into_iter().take(SAMPLE.saturating_sub(self.sample.len())) {
                    let (of, event_type) = (group.state.clone(), group.event_type.clone());
                    self.sample.push(Sampled { event_id, of, event_type, last_error: None });
                }
            }
            match found.next {
                None => return Ok(true),
                Some(_) if effort.is_spent(self.matched, started) => return Ok(false),
                Some(next) => page = next,
            }
        }
    }

    async fn jobs(&mut self, pool: &PgPool, filter: &DeadFilter, effort: Effort) -> Result<bool, OperationError> {
        let (started, mut place) = (Instant::now(), None);
        loop {
            let found = dead::pick(&mut *pool.acquire().await?, filter, place.as_ref(), PAGE).await?;
            for job in found.jobs {
                self.add(&job.queue, &job.event_type, 1);
                if self.sample.len() < SAMPLE {
                    let last_error = job.last_error.as_deref().map(without_addresses);
                    let (event_id, of, event_type) = (job.event_id, job.queue, job.event_type);
                    self.sample.push(Sampled { event_id, of, event_type, last_error });
                }
            }
            match found.next {
                None => return Ok(true),
                Some(_) if effort.is_spent(self.matched, started) => return Ok(false),
                next => place = next,
            }
        }
    }

    fn add(&mut self, of: &str, event_type: &str, number: u64) {
        self.matched += number;
        *self.groups.entry((of.to_owned(), event_type.to_owned())).or_default() += number;
    }
}
