//! Outbox → RabbitMQ as a stream of batches. While one batch is on the wire, the relay reads the next and marks the one
//! before. No transaction is open while the relay waits for the broker.
//!
//! The order holds because only reading and marking overlap: a batch goes on the wire after all verdicts on the batch
//! before it are in, and without the rows of aggregates that failed there. The relay does not read ahead of a batch that
//! may lack a row because it was not committed yet: the next version of its aggregate would overtake it.

use messaging::rabbitmq::{BrokerError, Publisher};
use runtime::database::limited;
use runtime::faults;
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use crate::broker::{self, Published};
use crate::error::RelayError;
use crate::low_water::LowWater;
use crate::row::{record_failure, trace_published};
use crate::shards::Leases;
use crate::store::{self, Pending};

/// Batches read ahead before a scan from the mark looks for rows that were committed late.
const AHEAD_AT_MOST: u32 = 8;

/// The way to the broker, and the batches that are on it.
#[derive(Debug)]
pub(crate) struct Stream {
    pool: PgPool,
    url: SecretString,
    batch: i64,
    max_attempts: i32,
    publisher: Option<Publisher>,
    /// Read while the batch before it was on the wire.
    ahead: Vec<Pending>,
    /// Up to here `ahead` cannot lack a row that commits late.
    ahead_settled: i64,
    /// Batches taken from `ahead` since the last scan.
    taken_ahead: u32,
    /// Confirmed and not marked yet.
    unmarked: Vec<Uuid>,
}

impl Stream {
    pub(crate) fn new(pool: PgPool, url: SecretString, batch: i64, max_attempts: i32) -> Self {
        Self {
            pool,
            url,
            batch,
            max_attempts,
            publisher: None,
            ahead: Vec::new(),
            ahead_settled: 0,
            taken_ahead: 0,
            unmarked: Vec::new(),
        }
    }

    /// Ends what was started under `leases`, before other leases take their place.
    pub(crate) async fn settle(&mut self, leases: &Leases) -> sqlx::Result<()> {
        self.ahead.clear();
        self.mark(leases).await
    }

    /// Publishes one batch. Returns how many rows went out or failed.
    pub(crate) async fn tick(&mut self, leases: &Leases, low_water: &mut LowWater) -> Result<usize, RelayError> {
        let (batch, settled) = self.next(leases, low_water).await?;
        let Some(last) = batch.last() else {
            low_water.scanned(None, true);
            return Ok(0);
        };
        faults::point("relay.batch.claimed");
        let publisher = match self.publisher.take() {
            Some(publisher) => publisher,
            None => Publisher::connect(&self.url).await?,
        };
        let complete = self.is_full(&batch) && last.position <= settled;
        self.ahead_settled = low_water.settled();
        let (sent, ahead, marked) = tokio::join!(
            broker::publish(&publisher, &batch, self.max_attempts),
            self.read_ahead(complete.then_some(last.position), leases),
            mark(&self.pool, leases, &self.unmarked),
        );
        faults::point("relay.batch.confirmed");
        // After an alarm the connection is still good, because nothing was sent. After any other error it is in doubt.
        if matches!(sent.interrupted, None | Some(BrokerError::Blocked)) {
            self.publisher = Some(publisher);
        }
        if marked.is_ok() {
            self.unmarked.clear();
        }
        self.unmarked.extend_from_slice(&sent.confirmed);
        self.follow_up(&batch, sent, ahead, leases, low_water).await
    }

    /// The batch that was read ahead, or the result of a scan; and the position up to which it cannot lack a row that
    /// commits late.
    async fn next(&mut self, leases: &Leases, low_water: &mut LowWater) -> sqlx::Result<(Vec<Pending>, i64)> {
        if !self.ahead.is_empty() && self.taken_ahead < AHEAD_AT_MOST {
            self.taken_ahead += 1;
            return Ok((std::mem::take(&mut self.ahead), self.ahead_settled));
        }
        // Otherwise the scan would return rows again that are out but not marked.
        self.settle(leases).await?;
        self.taken_ahead = 0;
        let settled = low_water.settled();
        let batch = limited(store::pending(&self.pool, &leases.shards, low_water.scan_from(), self.batch)).await?;
        Ok((batch, settled))
    }

    /// Reads the batch after `position`, if given. The caller gives none after a batch that was not full, because there is
    /// most likely nothing, and after one that may lack a row.
    async fn read_ahead(&self, position: Option<i64>, leases: &Leases) -> sqlx::Result<Vec<Pending>> {
        match position {
            Some(position) => limited(store::pending(&self.pool, &leases.shards, position + 1, self.batch)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn follow_up(
        &mut self,
        batch: &[Pending],
        sent: Published,
        ahead: sqlx::Result<Vec<Pending>>,
        leases: &Leases,
        low_water: &mut LowWater,
    ) -> Result<usize, RelayError> {
        for failed in &sent.failed {
            record_failure(&self.pool, leases, low_water, failed).await?;
        }
        for row in batch {
            trace_published(row.event.as_ref().ok().and_then(|event| event.headers.traceparent.as_deref()));
        }
        if sent.interrupted.is_none() {
            self.ahead = ahead?;
            self.ahead.retain(|row| !sent.held_back.contains(&row.aggregate_id));
        }
        if self.ahead.is_empty() {
            self.mark(leases).await?;
        }
        if let Some(error) = sent.interrupted {
            return Err(error.into());
        }
        // Only now: the mark must not pass rows that were merely read.
        if self.taken_ahead == 0 {
            low_water.scanned(batch.last().map(|row| row.position), !self.is_full(batch));
        }
        low_water.published(batch.iter().any(Pending::is_retried));
        Ok(sent.confirmed.len() + sent.failed.len())
    }

    fn is_full(&self, batch: &[Pending]) -> bool {
        i64::try_from(batch.len()).is_ok_and(|rows| rows >= self.batch)
    }

    async fn mark(&mut self, leases: &Leases) -> sqlx::Result<()> {
        mark(&self.pool, leases, &self.unmarked).await?;
        self.unmarked.clear();
        Ok(())
    }
}

async fn mark(pool: &PgPool, leases: &Leases, confirmed: &[Uuid]) -> sqlx::Result<()> {
    if confirmed.is_empty() {
        return Ok(());
    }
    let marked = limited(store::mark_published(pool, leases, confirmed)).await?;
    faults::point("relay.batch.marked");
    if usize::try_from(marked).unwrap_or(0) < confirmed.len() {
        tracing::warn!(
            confirmed = confirmed.len(),
            marked,
            "lease lost while publishing; the new owner publishes again"
        );
    }
    Ok(())
}
