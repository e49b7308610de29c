//! Documents by id, several in one round trip.
//!
//! A look-up that finds a lane free goes out at once, alone. Those that arrive while all lanes are waiting for
//! the database go out together with the next statement: nothing is delayed to make a batch, and under load the
//! cost of a round trip is shared.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::documents::Found;

/// Statements under way at once, for one kind of document. More lanes make smaller batches.
const LANES: usize = 2;
/// Documents in one statement, at most.
const MOST: usize = 64;

/// Finds the documents with these ids.
type Find = for<'c> fn(&'c mut PgConnection, &'c [Uuid]) -> BoxFuture<'c, sqlx::Result<HashMap<Uuid, Found>>>;

/// The look-ups of one kind of document; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Lookups {
    read: PgPool,
    find: Find,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Lookup>,
    lanes: usize,
}

#[derive(Debug)]
struct Lookup {
    id: Uuid,
    answer: oneshot::Sender<Option<Found>>,
}

impl Lookups {
    pub(super) fn new(read: PgPool, find: Find) -> Self {
        Self { read, find, queue: Arc::default() }
    }

    /// The document, as it is in the read model now or later, never earlier.
    pub(super) async fn get(&self, id: Uuid) -> sqlx::Result<Option<Found>> {
        let (answer, answered) = oneshot::channel();
        if self.enqueue(Lookup { id, answer }) {
            tokio::spawn(Lane { lookups: self.clone(), open: true }.run());
        }
        match answered.await {
            Ok(found) => Ok(found),
            // The shared statement failed. Each asks again for itself: a connection that had died in the pool
            // costs nobody an answer, and anything worse gives everybody an error of his own.
            Err(_) => Ok((self.find)(&mut *self.read.acquire().await?, &[id]).await?.remove(&id)),
        }
    }

    /// Whether the caller must open a lane.
    fn enqueue(&self, lookup: Lookup) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push_back(lookup);
        let open = queue.lanes < LANES;
        queue.lanes += usize::from(open);
        open
    }
}

/// One statement after the other until nobody waits. A task of its own, so that a client who hangs up takes
/// nobody else's answer with him.
struct Lane {
    lookups: Lookups,
    open: bool,
}

impl Lane {
    async fn run(mut self) {
        while let Some(batch) = self.next() {
            if let Err(error) = self.answer(batch).await {
                tracing::warn!(%error, "shared look-up failed");
            }
        }
    }

    /// Closes the lane in the same instant in which it sees that nobody waits: who comes later opens another.
    fn next(&mut self) -> Option<Vec<Lookup>> {
        let mut queue = self.lookups.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let many = queue.waiting.len().min(MOST);
        if many == 0 {
            queue.lanes -= 1;
            self.open = false;
            return None;
        }
        Some(queue.waiting.drain(..many).collect())
    }

    async fn answer(&self, batch: Vec<Lookup>) -> sqlx::Result<()> {
        let ids: Vec<Uuid> = batch.iter().map(|lookup| lookup.id).collect();
        let mut conn = self.lookups.read.acquire().await?;
        let found = (self.lookups.find)(&mut conn, &ids).await?;
        for Lookup { id, answer } in batch {
            // A client that has hung up misses nothing.
            let _hung_up = answer.send(found.get(&id).cloned());
        }
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.open {
            self.lookups.queue.lock().unwrap_or_else(PoisonError::into_inner).lanes -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use super::*;
    use crate::api::store;

    #[tokio::test]
    async fn without_a_database_everybody_gets_an_error_and_no_lane_stays_open() {
        let nowhere = PgConnectOptions::new().host("127.0.0.1").port(1);
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_millis(20)).connect_lazy_with(nowhere);
        let lookups = Lookups::new(pool, store::orders);
        let all = (1..=3).map(|n| lookups.get(Uuid::from_u128(n)));
        for result in futures_util::future::join_all(all).await {
            assert!(result.is_err());
        }
        // The last lane closes after its look-ups have been told.
        while lookups.queue.lock().expect("not poisoned").lanes > 0 {
            tokio::task::yield_now().await;
        }
    }
}
