//! Where the look for exceptions begins whose time has come.

use chrono::{DateTime, Utc};
use messaging::leases::Leases;
use messaging::looks::{COMMITS_WITHIN, Looks};
use runtime::database::interval;
use sqlx::PgPool;

/// None of the exceptions of these shards is due earlier.
#[derive(Debug)]
pub(crate) struct DueFrom {
    shards: Vec<i16>,
    /// The server that has them.
    timeline: String,
    at: DateTime<Utc>,
    looks: Looks,
}

impl DueFrom {
    /// Nothing is known of these shards.
    pub(crate) fn unknown(leases: &Leases) -> Self {
        let (shards, timeline) = (leases.shards.clone(), leases.timeline.clone());
        Self { shards, timeline, at: DateTime::UNIX_EPOCH, looks: Looks::default() }
    }

    pub(crate) fn is_of(&self, leases: &Leases) -> bool {
        self.shards == leases.shards && self.timeline == leases.timeline
    }

    pub(crate) const fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// Looks at everything, if it is time to. If that fails, the bound stays where it is.
    pub(crate) async fn renew(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        let look = sqlx::query_scalar!(
            r#"
            select least(min(first.next_attempt_at), statement_timestamp() - $2::interval) as "at!"
            from unnest($1::smallint[]) as mine (shard)
            cross join lateral (
                select next_attempt_at from messaging.outbox_exceptions as exception
                where exception.shard = mine.shard and status = 'WAITING' order by next_attempt_at limit 1
            ) as first
            "#,
            &self.shards,
            interval(COMMITS_WITHIN),
        )
        .fetch_one(pool);
        if let Some(at) = self.looks.take(look).await? {
            self.at = at;
        }
        Ok(())
    }
}
