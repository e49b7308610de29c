//! Outbox → inbox inside Postgres: one statement delivers and records, so it happens exactly once by construction.

use messaging::log::LookAt;
use runtime::database::{limited, refuses_the_data};
use runtime::telemetry::{Message, MessagingSystem};
use runtime::{Clock, faults};
use sqlx::PgPool;

use crate::error::RelayError;
use crate::outcome::Outcome;
use crate::position::Position;
use crate::row::trace_sent;
use crate::store::exceptions;
use crate::store::forward::{Forwarded, Routes, Source, Traced, forward};
use crate::store::look::look;

/// Where events go, in traces: one statement writes the rows of all queues.
const DESTINATION: &str = "inbox";

/// The way to the inboxes of the same database.
#[derive(Debug)]
pub(crate) struct PostgresQueue {
    pool: PgPool,
    relay: String,
    routes: Routes,
    max_attempts: i32,
    clock: Clock,
}

impl PostgresQueue {
    pub(crate) fn new(pool: PgPool, relay: String, max_attempts: i32) -> Self {
        Self { pool, relay, routes: Routes::new(), max_attempts, clock: Clock::system() }
    }

    /// Forwards one batch of up to `rows` events.
    pub(crate) async fn tick(&self, position: &mut Position, rows: i64) -> Result<Outcome, RelayError> {
        let look_at = limited(position.look_at(&self.pool)).await?;
        faults::point("relay.batch.ready");
        let started = self.clock.now();
        let forwarded = limited(forward(&self.pool, self.source(position, &look_at), &self.routes, rows)).await;
        faults::point("relay.batch.forwarded");
        let forwarded = match forwarded {
            Ok(forwarded) => forwarded,
            Err(error) if refuses_the_data(&error) => {
                tracing::warn!(%error, "batch refused; forwarding its events one by one");
                self.forward_one_by_one(position, &look_at, rows).await?
            }
            Err(error) => return Err(error.into()),
        };
        let covered = position.saw(&look_at, &forwarded.positions, forwarded.stopped_at_limit);
        position.handled(covered);
        limited(position.store(&self.pool)).await?;
        let times = (started, forwarded.confirmed_at.unwrap_or(started));
        for Traced { event_id, event_type, traceparent, is_new } in &forwarded.traced {
            let (system, destination) = (MessagingSystem::Postgresql, DESTINATION);
            let message = Message { system, destination, id: *event_id, event: event_type };
            trace_sent(message, Some(traceparent), *is_new, times, None);
        }
        metrics::counter!("outbox_published_total").increment(forwarded.sent.unsigned_abs());
        Ok(match forwarded {
            Forwarded { stopped_at_limit: true, .. } => Outcome::Forwarded,
            Forwarded { sent: 0, failed: 0, .. } => Outcome::Idle,
            _ => Outcome::CaughtUp,
        })
    }

    /// Events that are refused become exceptions, and are retried and finally parked. The others go out.
    async fn forward_one_by_one(&self, position: &Position, look_at: &LookAt, rows: i64) -> sqlx::Result<Forwarded> {
        let (mut all, events) = Forwarded::of(limited(look(&self.pool, position.standing(), look_at, rows)).await?);
        for event in events {
            let source = Source { only: Some(event.event_id), ..self.source(position, look_at) };
            match limited(forward(&self.pool, source, &self.routes, rows)).await {
                Ok(one) => all.add(one),
                Err(error) if refuses_the_data(&error) => {
                    let failed = event.failed(&error, self.max_attempts);
                    exceptions::record(&self.pool, position.leases(), &failed).await?;
                    all.failed += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    fn source<'a>(&'a self, position: &'a Position, look_at: &'a LookAt) -> Source<'a> {
        Source { relay: &self.relay, standing: position.standing(), look_at, only: None }
    }
}
