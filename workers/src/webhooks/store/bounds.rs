//! Where the claims of each endpoint start.
//!
//! Settled deliveries keep their entries in the index for as long as someone's snapshot is open. A claim that began at the oldest entry
//! would walk over all of them. So it begins at a bound, which a look at everything sets now and then. A delivery that a
//! transaction of more than [`COMMITS_WITHIN`] adds below the bound, or a clock that was set back, waits for the next such look.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use runtime::database::interval;
use sqlx::PgPool;
use uuid::Uuid;

/// How long a transaction that adds deliveries takes, or makes some due.
const COMMITS_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at everything.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The looks take at most one second in so many.
const SHARE: u32 = 20;
/// After a look that took longer than a statement may.
const GIVEN_UP: Duration = Duration::from_secs(10 * 60);

/// Nothing of an endpoint is due earlier. Of an endpoint that is not among them nothing is known.
#[derive(Debug, Default)]
pub(in crate::webhooks) struct Bounds {
    pub(super) endpoints: Vec<Uuid>,
    pub(super) due_from: Vec<DateTime<Utc>>,
    look_at: Option<Instant>,
}

impl Bounds {
    /// Looks at everything, if it is time to. If that fails, the bounds stay where they are.
    pub(in crate::webhooks) async fn renew(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        let started = Instant::now();
        if self.look_at.is_some_and(|look_at| started < look_at) {
            return Ok(());
        }
        // A look that is given up, because it takes too long, does not come again soon.
        self.look_at = Some(started + GIVEN_UP);
        let rows = sqlx::query!(
            r#"
            select id, least(first.due_at, statement_timestamp() - $1::interval) as "due_from!"
            from messaging.webhook_endpoints as endpoint
            left join lateral (
                select due_at from messaging.webhook_deliveries
                where endpoint_id = endpoint.id and due_at is not null order by due_at limit 1
            ) as first on true
            where deleted_at is null and disabled_at is null
            "#,
            interval(COMMITS_WITHIN),
        )
        .fetch_all(pool)
        .await;
        let rows = rows.inspect_err(|_| self.look_at = Some(Instant::now() + LOOK_EVERY))?;
        (self.endpoints, self.due_from) = rows.into_iter().map(|row| (row.id, row.due_from)).unzip();
        self.look_at = Some(Instant::now() + LOOK_EVERY.max(started.elapsed() * SHARE));
        Ok(())
    }
}
