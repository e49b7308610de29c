//! A backlog of events in the outbox, and how fast the relay drains it.
//!
//! The relay is the one of production with its default settings, including maintenance. Its own counter tells its progress:
//! queries on the table would compete with it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contracts::{EventType, Queue};
use messaging::TransportConfig;
use serde_json::{Value, json};
use standalone::Part;

use crate::system::{Database, System, counter};

/// The types of the events; see `seed_outbox.sql`.
const EVENT_TYPES: [EventType; 2] = [EventType::OrderCreated, EventType::OrderShipped];
/// Steps of one order.
const EVENTS_PER_ORDER: u64 = 4;
/// A backlog consists of whole rounds. In a round this many orders take their steps side by side.
const ROUND: u64 = 1_024 * EVENTS_PER_ORDER;

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A relay without progress for this long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A number of events with the same order document.
#[derive(Debug)]
pub(crate) struct Backlog {
    pub(crate) events: u64,
    sample: Value,
}

/// The number of published events over time.
#[derive(Debug)]
pub(crate) struct Course(Vec<(Instant, u64)>);

impl Backlog {
    /// At least this many events.
    pub(crate) async fn new(system: &System, events: u64) -> Result<Self> {
        Ok(Self { events: events.next_multiple_of(ROUND), sample: system.sample_order().await? })
    }

    /// One message per event and subscribed queue (decision 0002). Half of the events have the one type, half the other.
    pub(crate) fn messages(&self) -> u64 {
        Queue::JOBS.into_iter().map(|queue| self.messages_of(queue)).sum()
    }

    /// The messages of one queue.
    pub(crate) fn messages_of(&self, queue: Queue) -> u64 {
        let types = EVENT_TYPES.into_iter().filter(|event_type| queue.wants(*event_type)).count() as u64;
        self.events / 2 * types
    }

    /// Replaces the outbox of a database by this backlog, and empties its inbox and the bookkeeping of both.
    pub(crate) async fn fill(&self, database: &Database) -> Result<()> {
        let empty = "truncate messaging.outbox, messaging.inbox, messaging.claims, messaging.relay_batches,
                              messaging.outbox_exceptions, messaging.marks";
        sqlx::raw_sql(empty).execute(&database.pool).await?;
        database.seed_outbox(&self.sample, self.events).await?;
        database.settle().await
    }

    /// Runs the relay until the backlog is empty.
    pub(crate) async fn drain(
        &self,
        system: &System,
        database: &Database,
        transport: TransportConfig,
    ) -> Result<Course> {
        let before = published()?;
        let course = system.during(database, &[Part::Relay], transport, async |_| self.watch(before).await).await?;
        let (sent, events): (i64, i64) = sqlx::query_as(
            "select count(*), count(distinct position) from messaging.relay_batches cross join unnest(positions) as position",
        )
        .fetch_one(&database.pool)
        .await?;
        let once = sent == events && u64::try_from(events)? == self.events;
        ensure!(once, "{events} of {} events were published, {sent} times in all", self.events);
        Ok(course)
    }

    async fn watch(&self, before: u64) -> Result<Course> {
        let mut course = Vec::new();
        let (mut done, mut changed) = (0, Instant::now());
        while done < self.events {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = published()? - before;
            if now > done {
                (done, changed) = (now, Instant::now());
                course.push((changed, done));
            }
            ensure!(changed.elapsed() < PATIENCE, "the relay stopped after {done} of {} events", self.events);
        }
        Ok(Course(course))
    }
}

impl Course {
    /// Events per second over the run. Time starts at the end of the first batch, when connections and leases are set up.
    pub(crate) fn per_second(&self) -> Result<f64> {
        self.between(0, 10)
    }

    /// Events per second between two tenths of the backlog.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub(crate) fn between(&self, from_tenth: u64, to_tenth: u64) -> Result<f64> {
        let all = self.0.last().map_or(0, |(_, done)| *done);
        let reached = |tenth| self.0.iter().find(|(_, done)| *done >= all * tenth / 10).copied();
        let (from, to) = (reached(from_tenth).context("no course")?, reached(to_tenth).context("no course")?);
        ensure!(to.1 > from.1, "too few batches to measure a rate");
        Ok((to.1 - from.1) as f64 / (to.0 - from.0).as_secs_f64())
    }

    /// Leaves out a tenth in which fewer than two batches ended.
    pub(crate) fn json(&self) -> Value {
        let tenths: Vec<_> = (0..10).filter_map(|tenth| self.between(tenth, tenth + 1).ok()).collect();
        json!({ "events": self.0.last().map(|(_, done)| done), "per_second_by_tenth": tenths })
    }
}

/// Events that the relays of this process have forwarded so far.
fn published() -> Result<u64> {
    counter("outbox_published_total")
}
