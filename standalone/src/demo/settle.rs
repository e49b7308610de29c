//! Waits until the background work of all commands is done.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use contracts::Queue;
use sqlx::PgPool;

const DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// The open work, read by one statement and so at one instant.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Backlog {
    /// Events that the relay has not published.
    pending: i64,
    /// Deliveries to expect: one per event and queue that subscribes to it.
    expected: i64,
    /// Deliveries that have reached the inbox.
    received: i64,
    /// Events that the read models do not show.
    unprojected: i64,
    /// Open jobs by queue: `invoices 3, refunds 1`.
    open: Option<String>,
    dead: i64,
}

impl Backlog {
    async fn read(pool: &PgPool) -> sqlx::Result<Self> {
        let routes: Vec<&str> = Queue::routes().map(|(event, _)| event.as_str()).collect();
        // The history of the read models has a row for each event.
        sqlx::query_as(
            "select
                (select count(*) from messaging.pending_events)
                    + (select count(*) from messaging.outbox_exceptions where status <> 'SKIPPED') as pending,
                (select count(*) from messaging.outbox join unnest($1::text[]) as route (event_type) using (event_type)) as expected,
                (select count(*) from messaging.inbox where queue <> 'projections') as received,
                (select count(*) from messaging.outbox as event
                   left join read.history on (history.aggregate_type, history.aggregate_id, version)
                                           = (event.aggregate_type, event.aggregate_id, aggregate_version)
                   where version is null) as unprojected,
                (select string_agg(queue || ' ' || jobs, ', ' order by queue)
                   from (select queue, count(*) as jobs from messaging.open_jobs group by queue) as open) as open,
                (select count(*) from messaging.dead_letters) as dead",
        )
        .bind(routes)
        .fetch_one(pool)
        .await
    }

    fn is_empty(&self) -> bool {
        self.pending == 0 && self.received == self.expected && self.unprojected == 0 && self.open.is_none()
    }
}

/// Returns the time that it took; fails when the deadline passes or a job is dead.
pub(super) async fn settle(pool: &PgPool) -> Result<Duration> {
    let started = Instant::now();
    let mut shown = None;
    loop {
        let backlog = Backlog::read(pool).await?;
        if backlog.is_empty() {
            return Ok(started.elapsed());
        }
        if backlog.dead > 0 || started.elapsed() > DEADLINE {
            bail!("the background work does not finish: {backlog:?}");
        }
        if shown != backlog.open {
            println!(
                "  {:>6.1} s  open jobs: {}",
                started.elapsed().as_secs_f64(),
                backlog.open.as_deref().unwrap_or("none, events are being published")
            );
            shown = backlog.open;
        }
        tokio::time::sleep(POLL).await;
    }
}
