//! Where one group of shards stands in the log.

use chrono::{DateTime, Utc};
use messaging::leases::{Consumer, Leases};
use messaging::log::{Covered, LookAt, Place};
use sqlx::PgPool;

use crate::store::{self, Standing};

/// The place of a group of leased shards, and what of it is out already.
#[derive(Debug)]
pub(crate) struct Position {
    place: Place,
    /// Events above the marks that an earlier relay sent.
    sent: Vec<i64>,
    /// None of the exceptions is due earlier.
    due_from: DateTime<Utc>,
}

impl Position {
    /// Where the relays before this one stopped. Of the shards in `full` only exceptions go out.
    pub(crate) async fn load(pool: &PgPool, leases: Leases, full: &[i16], arrives: bool) -> sqlx::Result<Self> {
        let place = Place::load_without(pool, Consumer::Relay, leases, full).await?;
        let place = if arrives { place.and_arrived() } else { place };
        let sent = store::sent_above(pool, place.leases(), place.mark()).await?;
        Ok(Self { place, sent, due_from: DateTime::UNIX_EPOCH })
    }

    pub(crate) const fn leases(&self) -> &Leases {
        self.place.leases()
    }

    pub(crate) fn standing(&self) -> Standing<'_> {
        let Self { place, sent, due_from } = self;
        Standing { leases: place.leases(), marks: place.marks(), sent, due_from: *due_from }
    }

    pub(crate) const fn look_for_exceptions_from(&mut self, due_from: DateTime<Utc>) {
        self.due_from = due_from;
    }

    pub(crate) async fn look_at(&mut self, pool: &PgPool) -> sqlx::Result<LookAt> {
        self.place.look_at(pool).await
    }

    pub(crate) fn saw(&mut self, looked_at: &LookAt, positions: &[i64], stopped_at_limit: bool) -> Covered {
        self.place.saw(looked_at, positions, stopped_at_limit)
    }

    /// Everything seen up to there is out, or has its row among the exceptions.
    pub(crate) fn handled(&mut self, covered: Covered) {
        self.place.handled(covered);
        let mark = self.place.mark().position;
        self.sent.retain(|position| *position > mark);
        metrics::gauge!("outbox_gaps").set(f64::from(u32::try_from(self.place.gaps()).unwrap_or(u32::MAX)));
    }

    pub(crate) async fn store(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        self.place.store(pool).await
    }

    pub(crate) async fn store_now(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        self.place.store_now(pool).await
    }
}
