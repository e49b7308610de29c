//! What pages have in their addresses: whose page it is, which jobs or events are meant, and since when.

use chrono::{DateTime, Utc};
use contracts::Queue;
use runtime::ApiError;
use serde::Deserialize;
use uuid::Uuid;

use super::document::encoded;
use super::refusal::{Answer, Refusal};
use crate::OperationError;
use crate::format::before;
use crate::write::bulk::{BulkVerb, BulkWork};
use crate::write::dead::DeadFilter;
use crate::write::replay::Selection;

/// The id in a page's address; 404 with this code for what is none.
pub(super) fn id_of(path: &str, code: &'static str, kind: &str) -> Answer<Uuid> {
    let not_found = || ApiError::not_found(code, format!("no {kind} has this id: it is not a UUID"));
    Uuid::try_parse(path).map_err(|_| Refusal::from(not_found()))
}

/// What is done to what; the address of a preview has it, so it can be kept and passed on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    pub(super) act: Option<BulkVerb>,
    #[serde(default)]
    pub(super) queue: String,
    #[serde(default)]
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) error: String,
    /// As `2h`, or a time; what came or occurred since then.
    #[serde(default)]
    since: String,
    /// A time: what died or occurred until then.
    #[serde(default)]
    until: String,
    #[serde(default)]
    pub(super) parked: String,
}

impl Wanted {
    pub(super) fn work(&self, now: DateTime<Utc>) -> Result<BulkWork, OperationError> {
        let text = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let time = |field, text: &str| {
            let wrong = |_| OperationError::Invalid(field, "must be a time, as 2026-11-28T09:00:00Z".to_owned());
            DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(wrong)
        };
        let since =
            text(&self.since).map(|since| time("since", &since).or_else(|_| long_ago(now, &since))).transpose()?;
        let until = text(&self.until).map(|until| time("until", &until)).transpose()?;
        let queue = text(&self.queue).map(|queue| queue.parse::<Queue>()).transpose()?;
        let event_type = text(&self.event_type);
        let jobs =
            || DeadFilter { queue, event_type: event_type.clone(), error: text(&self.error), since, died_until: until };
        match self.act {
            Some(BulkVerb::Retry) => Ok(BulkWork::Retry(jobs())),
            Some(BulkVerb::Discard) => Ok(BulkWork::Discard(jobs())),
            Some(BulkVerb::Replay) => {
                let parked = !self.parked.is_empty();
                Ok(BulkWork::Replay(Selection { event_type, from: since, to: until, parked, ..Selection::default() }))
            }
            None => Err(OperationError::Invalid("act", "must be retry, discard or replay".to_owned())),
        }
    }
}

/// The address of the preview of an act on dead jobs.
pub(super) fn of_dead_jobs(act: &str, queue: &str, event_type: &str, error: &str, since: &str) -> String {
    let fields = [("queue", queue), ("event_type", event_type), ("error", error), ("since", since)];
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    let given = given.map(|(name, value)| format!("{name}={}", encoded(value)));
    let all: Vec<_> = std::iter::once(format!("act={act}")).chain(given).collect();
    format!("/console/bulk/new?{}", all.join("&"))
}

/// The moment that was `2h` or `1day 3h` ago.
pub(super) fn long_ago(now: DateTime<Utc>, span: &str) -> Result<DateTime<Utc>, OperationError> {
    let wrong = || OperationError::Invalid("since", "must be a time span, as 30min, 2h or 3days".to_owned());
    let span = humantime::parse_duration(span).map_err(|_| wrong())?;
    before(now, span).ok_or_else(wrong)
}
