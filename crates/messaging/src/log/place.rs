//! Where a reader stands in the log, and how its place outlives it.

use std::time::{Duration, Instant};

use sqlx::PgPool;

use super::marks;
use super::progress::{Covered, LookAt, Mark, Progress};
use crate::fence;
use crate::leases::{ARRIVED, Consumer, Leases};

/// How often a reader asks for the writers while the mark could move.
#[derive(Debug, Clone, Copy)]
struct AskEvery {
    /// While nothing new comes.
    idle: Duration,
    /// While new events come.
    busy: Duration,
}

/// New events would wait for the answer.
const READER: AskEvery = AskEvery { idle: Duration::from_millis(100), busy: Duration::from_secs(1) };
/// Nothing is shown before the answer.
const WATCHER: AskEvery = AskEvery { idle: Duration::from_millis(10), busy: Duration::from_millis(25) };
/// How often the mark is stored while it moves.
const STORE_EVERY: Duration = Duration::from_secs(2);

/// The place of one reader in its leased shards.
#[derive(Debug)]
pub struct Place {
    consumer: Consumer,
    /// What its marks are called.
    names: Vec<&'static str>,
    leases: Leases,
    /// Shards of which nothing new is read.
    held_back: Vec<i16>,
    /// A position for each shard: events up to it are known.
    marks: Vec<i64>,
    progress: Progress,
    ask_every: AskEvery,
    asked_at: Option<Instant>,
    /// Whether the last statement saw something.
    is_busy: bool,
    stored: i64,
    store_at: Instant,
}

impl Place {
    /// Where the readers before this one stopped.
    pub async fn load(pool: &PgPool, consumer: Consumer, leases: Leases) -> sqlx::Result<Self> {
        Self::load_without(pool, consumer, leases, &[]).await
    }

    /// The same. Nothing new is read of the shards that are held back, and their marks stay where they are.
    pub async fn load_without(
        pool: &PgPool,
        consumer: Consumer,
        leases: Leases,
        held_back: &[i16],
    ) -> sqlx::Result<Self> {
        let mut stored = marks::load(pool, consumer, &leases).await?;
        let all_held_back = leases.shards.iter().all(|shard| held_back.contains(shard));
        let read =
            || leases.shards.iter().zip(&stored).filter(|(shard, _)| all_held_back || !held_back.contains(shard));
        let lowest = read().map(|(_, mark)| mark.position).min().unwrap_or(0);
        // A shard that has no mark yet makes `since` unknown.
        let since = read().map(|(_, mark)| mark.since).min().flatten();
        for (shard, mark) in leases.shards.iter().zip(&mut stored) {
            if held_back.contains(shard) {
                mark.position = i64::MAX;
            }
        }
        Ok(Self {
            consumer,
            names: vec![consumer.as_str()],
            held_back: held_back.to_vec(),
            marks: stored.iter().map(|mark| mark.position).collect(),
            progress: Progress::from_mark(Mark { position: lowest, since }),
            ask_every: READER,
            asked_at: None,
            is_busy: false,
            stored: lowest,
            store_at: Instant::now() + STORE_EVERY,
            leases,
        })
    }

    /// A place without shards. It stores nothing, and only learns up to where the log is settled. It starts
    /// where every projector has been.
    pub async fn watching(pool: &PgPool) -> sqlx::Result<Self> {
        let position = marks::lowest(pool, Consumer::Projections).await?;
        Ok(Self {
            consumer: Consumer::Projections,
            names: Vec::new(),
            leases: Leases::default(),
            held_back: Vec::new(),
            marks: Vec::new(),
            progress: Progress::from_mark(Mark { position, since: None }),
            ask_every: WATCHER,
            asked_at: None,
            is_busy: false,
            stored: i64::MAX,
            store_at: Instant::now() + STORE_EVERY,
        })
    }

    /// Reading an event is also its arrival in the inbox: the marks say so.
    #[must_use]
    pub fn and_arrived(mut self) -> Self {
        self.names.push(ARRIVED);
        self
    }

    pub const fn leases(&self) -> &Leases {
        &self.leases
    }

    /// A position for each leased shard: events up to it are known.
    pub fn marks(&self) -> &[i64] {
        &self.marks
    }

    /// Up to here every event is handled.
    pub const fn mark(&self) -> Mark {
        self.progress.mark()
    }

    /// Whether the mark is as far as it can be: since the start, what was visible then has been settled, or nothing was.
    pub const fn has_settled(&self) -> bool {
        self.progress.has_settled()
    }

    /// Whether nothing was seen above the mark.
    pub const fn is_settled(&self) -> bool {
        self.progress.is_settled()
    }

    /// Positions that were not there when the reader passed them, and may still come.
    pub fn gaps(&self) -> i64 {
        self.progress.gaps()
    }

    /// Where the next statement has to look. Asks for the writers first, if it is time to.
    pub async fn look_at(&mut self, pool: &PgPool) -> sqlx::Result<LookAt> {
        let ask_every = if self.is_busy { self.ask_every.busy } else { self.ask_every.idle };
        if self.progress.needs_writers() && self.asked_at.is_none_or(|asked_at| asked_at.elapsed() >= ask_every) {
            let drawn = marks::drawn(pool).await?;
            self.progress.note_writers(drawn, fence::writers(pool, "messaging.outbox").await?);
            self.asked_at = Some(Instant::now());
        }
        Ok(self.progress.look_at())
    }

    /// Notes what a statement saw there: positions in ascending order, and whether it stopped at its limit. Call
    /// [`Place::handled`] with the answer once all these events are handled, in the order of the reads.
    pub fn saw(&mut self, looked_at: &LookAt, positions: &[i64], stopped_at_limit: bool) -> Covered {
        self.is_busy = !positions.is_empty();
        self.progress.saw(looked_at, positions, stopped_at_limit)
    }

    /// Everything that the statement saw is handled.
    pub fn handled(&mut self, covered: Covered) {
        self.progress.handled(covered);
    }

    /// Stores the mark if it has moved and was not stored lately.
    pub async fn store(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        if Instant::now() < self.store_at { Ok(()) } else { self.store_now(pool).await }
    }

    /// Stores the mark if it has moved.
    pub async fn store_now(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        let mark = self.progress.mark();
        if mark.position > self.stored {
            let leases = self.leases.clone().without(&self.held_back);
            marks::store(pool, self.consumer, &self.names, &leases, mark).await?;
            self.stored = mark.position;
        }
        self.store_at = Instant::now() + STORE_EVERY;
        Ok(())
    }
}
