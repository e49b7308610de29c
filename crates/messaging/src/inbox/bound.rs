//! Where the claims of a queue start.
//!
//! Finished jobs keep their entries in the index for as long as someone's snapshot is open, and for good until their
//! partition is dropped. A claim that began at the oldest entry would walk over all of them. So it begins at a bound: no
//! job that could start is due earlier. The bound passes a time only when every transaction that wrote to the inbox then
//! has ended, and a later claim has found nothing more.

#[cfg(test)]
mod model;

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use contracts::Queue;
use sqlx::PgPool;
use uuid::Uuid;

use super::claim::Claimed;
use crate::BatchSize;
use crate::fence::{self, Fence, Point};

/// How often a worker asks for the writers of the inbox while it claims jobs.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The same once it has claimed many jobs since the bound moved: each claim walks over all of them.
const ASK_EVERY_UNDER_LOAD: Duration = Duration::from_millis(50);
const MANY: usize = 100;
/// How often the bound is stored, for the next worker that starts.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// A clock that is set back puts jobs below the bound. The sweep looks this far below it at once, and everywhere in time.
const CLOCK_SET_BACK: TimeDelta = TimeDelta::seconds(10);
/// Rows of one window of the sweep, those of other queues among them, unless it takes too long.
const WINDOW: i64 = 10_000;

/// What is known about the jobs of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Known {
    /// No job that could start is due earlier.
    pub(super) at: DateTime<Utc>,
    fence: Fence,
    /// Whether something was claimed since the bound moved.
    is_behind: bool,
}

impl Known {
    pub(super) const fn stored(at: DateTime<Utc>) -> Self {
        Self { at, fence: Fence::Open, is_behind: true }
    }

    /// Whether [`Known::note_writers`] could move the bound.
    pub(super) const fn needs_writers(&self) -> bool {
        self.is_behind && self.fence.settled().is_none()
    }

    /// Notes a time, and then who was writing to the inbox; in this order.
    pub(super) fn note_writers(&mut self, at: DateTime<Utc>, writers: Vec<String>) {
        self.fence.note(Point { taken: at.timestamp_micros(), at }, writers);
    }

    pub(super) const fn start_at(&self) -> StartAt {
        StartAt { bound: self.at, settled: self.fence.settled() }
    }

    /// Notes what a claim got, and when the first of the due jobs was due that it left.
    pub(super) fn claimed(&mut self, start_at: StartAt, got_any: bool, first_left: Option<DateTime<Utc>>) {
        self.is_behind |= got_any;
        if let Some(settled) = start_at.settled {
            self.fence.passed();
            let seen = first_left.map_or(settled.at, |left| left.min(settled.at));
            self.at = self.at.max(seen);
            self.is_behind = seen < settled.at || got_any;
        }
    }
}

/// The bound of one worker.
#[derive(Debug)]
pub(crate) struct Bound {
    queue: Queue,
    /// The server whose jobs it is about.
    timeline: String,
    known: Known,
    /// When the writers were last asked for; `None` before the first time.
    asked_at: Option<Instant>,
    /// Jobs claimed since the bound moved.
    claimed: usize,
    stored: DateTime<Utc>,
    store_at: Instant,
    /// Where the next window of the sweep starts, and how many rows it has.
    sweep_after: Uuid,
    window: BatchSize,
}

/// Where a claim starts, and what it proves if it leaves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StartAt {
    pub(crate) bound: DateTime<Utc>,
    settled: Option<Point>,
}

impl StartAt {
    /// Whether the bound moves if the claim leaves nothing.
    pub(crate) const fn settles(self) -> bool {
        self.settled.is_some()
    }
}

impl Bound {
    /// The bound that is stored.
    pub(crate) async fn load(pool: &PgPool, queue: Queue) -> sqlx::Result<Self> {
        let row = sqlx::query!(
            r#"
            select messaging.timeline() as "timeline!",
                   (select bound from messaging.queue_bounds where queue = $1 order by id desc limit 1) as bound
            "#,
            queue.as_str()
        )
        .fetch_one(pool)
        .await?;
        let stored = row.bound.unwrap_or(DateTime::UNIX_EPOCH);
        Ok(Self {
            queue,
            timeline: row.timeline,
            known: Known::stored(stored),
            asked_at: None,
            claimed: 0,
            stored,
            store_at: Instant::now() + STORE_EVERY,
            sweep_after: Uuid::nil(),
            window: BatchSize::new("sweep", WINDOW),
        })
    }

    /// Whether it is about the jobs of this server. After a failover that lost commits, jobs below it may be open again.
    pub(crate) fn is_of(&self, timeline: &str) -> bool {
        self.timeline == timeline
    }

    /// Where the next claim starts.
    pub(crate) async fn start_at(&mut self, pool: &PgPool) -> sqlx::Result<StartAt> {
        let every = if self.claimed < MANY { ASK_EVERY } else { ASK_EVERY_UNDER_LOAD };
        if self.known.needs_writers() && self.asked_at.is_none_or(|asked_at| asked_at.elapsed() >= every) {
            let at = sqlx::query_scalar!(r#"select clock_timestamp() as "at!""#).fetch_one(pool).await?;
            self.known.note_writers(at, fence::writers(pool, "messaging.inbox").await?);
            self.asked_at = Some(Instant::now());
        }
        Ok(self.known.start_at())
    }

    /// Notes what a claim got.
    pub(crate) async fn claimed(&mut self, pool: &PgPool, start_at: StartAt, claimed: &Claimed) -> sqlx::Result<()> {
        let got_any = !claimed.jobs.is_empty() || !claimed.out_of_turn.is_empty();
        self.known.claimed(start_at, got_any, claimed.first_left);
        self.claimed = if self.known.at > start_at.bound { 0 } else { self.claimed + claimed.jobs.len() };
        if self.known.at > self.stored && Instant::now() >= self.store_at {
            self.store_at = Instant::now() + STORE_EVERY;
            store(pool, self.queue, &self.timeline, self.known.at).await?;
            self.stored = self.known.at;
        }
        Ok(())
    }

    /// Finds open jobs that are due below the bound, and makes them due now. There should be none.
    pub(crate) async fn sweep(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        let mut swept = sweep_near(pool, self.queue, self.known.at - CLOCK_SET_BACK, self.known.at).await?;
        let rows = self.window.rows();
        let (last, in_window) = sweep_window(pool, self.queue, self.known.at, self.sweep_after, rows)
            .await
            .inspect_err(|error| self.window.failed(rows, error))?;
        if last.is_some() {
            self.window.succeeded(rows);
        }
        self.sweep_after = last.unwrap_or(Uuid::nil());
        swept += in_window;
        metrics::counter!("inbox_swept_total", "queue" => self.queue.as_str()).increment(swept.unsigned_abs());
        if swept > 0 {
            tracing::warn!(queue = %self.queue, jobs = swept, "found jobs below the bound of the claims; they run now");
        }
        Ok(())
    }
}

async fn store(pool: &PgPool, queue: Queue, timeline: &str, bound: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into messaging.queue_bounds (queue, bound)
        select $1, $2
        where $2 > coalesce((select bound from messaging.queue_bounds where queue = $1 order by id desc limit 1), '-infinity')
          and messaging.timeline() = $3
        "#,
        queue.as_str(),
        bound,
        timeline,
    )
    .execute(pool)
    .await?;
    Ok(())
}

async fn sweep_near(pool: &PgPool, queue: Queue, from: DateTime<Utc>, bound: DateTime<Utc>) -> sqlx::Result<i64> {
    let swept = sqlx::query!(
        r#"
        update messaging.inbox set run_at = messaging.due_now($1)
        where queue = $1 and run_at >= $2 and run_at < $3 and status in ('ready', 'in_doubt')
        "#,
        queue.as_str(),
        from,
        bound,
    )
    .execute(pool)
    .await?;
    Ok(i64::try_from(swept.rows_affected()).unwrap_or(i64::MAX))
}

/// One window of the primary key. Returns its last id, or none at the end of the table. A row that a worker holds is left to it.
async fn sweep_window(
    pool: &PgPool,
    queue: Queue,
    bound: DateTime<Utc>,
    after: Uuid,
    rows: i64,
) -> sqlx::Result<(Option<Uuid>, i64)> {
    let row = sqlx::query!(
        r#"
        with seen as materialized (
            select event_id, queue, status, run_at from messaging.inbox
            where event_id > $2
            order by event_id
            limit $3
        ), below as materialized (
            select event_id from messaging.inbox
            where queue = $1 and status in ('ready', 'in_doubt') and run_at < $4
              and event_id = any(array(
                  select event_id from seen where queue = $1 and status in ('ready', 'in_doubt') and run_at < $4))
            for update skip locked
        ), swept as (
            update messaging.inbox as job set run_at = messaging.due_now($1)
            from below
            where job.queue = $1 and job.event_id = any(array(select event_id from below)) and job.event_id = below.event_id
            returning 1
        )
        select case when count(*) = $3 then (array_agg(event_id order by event_id desc))[1] end as last,
               (select count(*) from swept) as "swept!"
        from seen
        "#,
        queue.as_str(),
        after,
        rows,
        bound,
    )
    .fetch_one(pool)
    .await?;
    Ok((row.last, row.swept))
}
