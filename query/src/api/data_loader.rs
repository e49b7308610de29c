//! Loads documents by id, several in one round trip (the *data loader* pattern).
//!
//! A request that finds a loader idle is sent at once, alone. Requests that arrive while all loaders wait for the database share
//! the next statement. So no request is delayed to fill a batch, and under load the requests share the cost of a round trip.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::documents::Found;
use super::store::Wanted;

/// Statements in flight for one kind of document. More of them make smaller batches.
const MAX_LOADERS: usize = 2;
/// Limit of documents in one statement.
const MAX_BATCH: usize = 64;

/// Finds these documents.
type Find = for<'c> fn(&'c mut PgConnection, &'c Wanted) -> BoxFuture<'c, sqlx::Result<Vec<Found>>>;

/// Loads one kind of document; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct DataLoader {
    read: PgPool,
    find: Find,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    loaders: usize,
}

#[derive(Debug)]
struct Request {
    id: Uuid,
    owner: Option<String>,
    reply: oneshot::Sender<Option<Found>>,
}

impl DataLoader {
    pub(super) fn new(read: PgPool, find: Find) -> Self {
        Self { read, find, queue: Arc::default() }
    }

    /// The document as it is in the read model now or later, never earlier. That of another customer than the owner does not exist.
    pub(super) async fn get(&self, id: Uuid, owner: Option<&str>) -> sqlx::Result<Option<Found>> {
        let (reply, replied) = oneshot::channel();
        let owner = owner.map(str::to_owned);
        if self.enqueue(Request { id, owner: owner.clone(), reply }) {
            tokio::spawn(LoaderTask { data: self.clone(), counted: true }.run());
        }
        if let Ok(found) = replied.await {
            return Ok(found);
        }
        // The shared statement failed, so each request runs its own. When a pooled connection had died, this one succeeds;
        // otherwise each request gets its own error.
        let wanted = Wanted { ids: vec![id], owners: vec![owner] };
        Ok((self.find)(&mut *self.read.acquire().await?, &wanted).await?.pop())
    }

    /// Whether the caller must start a loader.
    fn enqueue(&self, request: Request) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.requests.push_back(request);
        let start = queue.loaders < MAX_LOADERS;
        queue.loaders += usize::from(start);
        start
    }
}

/// Runs one statement after the other until the queue is empty. A task of its own: a client that disconnects cancels its own
/// request, not those that share the statement.
struct LoaderTask {
    data: DataLoader,
    /// Whether `Queue::loaders` still counts this task.
    counted: bool,
}

impl LoaderTask {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            if let Err(error) = self.load(batch).await {
                tracing::warn!(%error, "shared statement of a data loader failed; each request runs its own");
            }
        }
    }

    /// Under one lock it sees that the queue is empty and counts itself out, so that the next request starts a new loader.
    fn next_batch(&mut self) -> Option<Vec<Request>> {
        let mut queue = self.data.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let size = queue.requests.len().min(MAX_BATCH);
        if size == 0 {
            queue.loaders -= 1;
            self.counted = false;
            return None;
        }
        Some(queue.requests.drain(..size).collect())
    }

    async fn load(&self, batch: Vec<Request>) -> sqlx::Result<()> {
        let (mut wanted, mut replies) = (Wanted::default(), Vec::with_capacity(batch.len()));
        for Request { id, owner, reply } in batch {
            wanted.ids.push(id);
            wanted.owners.push(owner);
            replies.push(reply);
        }
        let mut conn = self.data.read.acquire().await?;
        let mut found: HashMap<i64, Found> =
            (self.data.find)(&mut conn, &wanted).await?.into_iter().map(|found| (found.place, found)).collect();
        for (place, reply) in (1..).zip(replies) {
            // The client may have disconnected.
            let _disconnected = reply.send(found.remove(&place));
        }
        Ok(())
    }
}

impl Drop for LoaderTask {
    fn drop(&mut self) {
        if self.counted {
            self.data.queue.lock().unwrap_or_else(PoisonError::into_inner).loaders -= 1;
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
    async fn without_a_database_every_request_fails_and_no_loader_stays() {
        let nowhere = PgConnectOptions::new().host("127.0.0.1").port(1);
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_millis(20)).connect_lazy_with(nowhere);
        let loader = DataLoader::new(pool, store::orders);
        let all = (1..=3).map(|n| loader.get(Uuid::from_u128(n), None));
        for result in futures_util::future::join_all(all).await {
            assert!(result.is_err());
        }
        // The last task counts itself out after its requests have got their errors.
        while loader.queue.lock().expect("not poisoned").loaders > 0 {
            tokio::task::yield_now().await;
        }
    }
}
