//! Completions in groups: jobs that end while a commit is in flight are completed together by the next one.
//!
//! A job whose effect is rows only costs no commit of its own. When the database refuses a group, each half is tried alone,
//! until the job that causes the refusal is alone: it spoils no other.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use contracts::Queue;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::database::in_transaction;
use runtime::faults;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::handler::{Completed, Failure};
use crate::inbox::{self, Job};

/// Most jobs that one commit completes.
const MOST: usize = 64;

/// When a job was done, as its row says, or why it is not.
type Outcome = Result<DateTime<Utc>, Failure>;

/// When each job was done, by its event and claim.
type Done = HashMap<(Uuid, Uuid), DateTime<Utc>>;

/// The completions of one worker.
#[derive(Debug)]
pub(super) struct Completions {
    pool: PgPool,
    queue: Queue,
    waiting: Mutex<Vec<Finished>>,
    /// Who holds this commits for all that wait.
    turn: tokio::sync::Mutex<()>,
}

/// A job whose work is done, and which is not recorded as done yet.
#[derive(Debug)]
struct Finished {
    event_id: Uuid,
    claim_id: Uuid,
    /// In an ordered queue, the version of the aggregate for which the next one waits.
    settles: Option<(Uuid, i32)>,
    completed: Completed,
    reply: Mutex<Option<oneshot::Sender<Outcome>>>,
}

impl Finished {
    /// The event, and the claim under which its job was done.
    const fn key(&self) -> (Uuid, Uuid) {
        (self.event_id, self.claim_id)
    }

    fn reply(&self, outcome: Outcome) {
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reply) = reply {
            // The receiver is gone when the worker gives up its jobs.
            let _gone = reply.send(outcome);
        }
    }
}

impl Completions {
    pub(super) fn new(pool: PgPool, queue: Queue) -> Self {
        Self { pool, queue, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Records a job as done, and writes its effect in the same commit. Returns when it was done, as its row says.
    ///
    /// # Errors
    /// [`Failure::LeaseLost`] when the job runs under another claim by now; otherwise what the database said.
    pub(super) async fn complete(&self, job: &Job, completed: Completed) -> Outcome {
        let (reply, mut outcome) = oneshot::channel();
        let finished = Finished {
            event_id: job.event_id,
            claim_id: job.claim_id,
            settles: job.ordered.then_some((job.aggregate_id, job.aggregate_version)),
            completed,
            reply: Mutex::new(Some(reply)),
        };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(finished);
        loop {
            let _turn = tokio::select! {
                biased;
                done = &mut outcome => {
                    return done.unwrap_or_else(|_| Err(Failure::Interrupted("the worker was stopped".to_owned())));
                }
                turn = self.turn.lock() => turn,
            };
            let group = self.next_group();
            if !group.is_empty() {
                let all = 0..group.len();
                self.commit(Arc::new(group), all).await;
            }
        }
    }

    fn next_group(&self) -> Vec<Finished> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(MOST);
        waiting.drain(..count).collect()
    }

    fn commit(&self, group: Arc<Vec<Finished>>, part: Range<usize>) -> BoxFuture<'_, ()> {
        async move {
            match self.try_commit(Arc::clone(&group), part.clone()).await {
                Ok(done) => {
                    faults::point("worker.completion.committed");
                    for finished in &group[part] {
                        finished.reply(done.get(&finished.key()).copied().ok_or(Failure::LeaseLost));
                    }
                }
                Err(sqlx::Error::Database(error)) if part.len() > 1 => {
                    tracing::warn!(queue = %self.queue, %error, jobs = part.len(), "completions refused, trying halves");
                    let middle = part.start + part.len() / 2;
                    self.commit(Arc::clone(&group), part.start..middle).await;
                    self.commit(group, middle..part.end).await;
                }
                Err(error) => {
                    for finished in &group[part] {
                        finished.reply(Err(Failure::of_database(&error)));
                    }
                }
            }
        }
        .boxed()
    }

    /// Returns the keys of what is done now, with the time.
    async fn try_commit(&self, group: Arc<Vec<Finished>>, part: Range<usize>) -> sqlx::Result<Done> {
        let queue = self.queue;
        in_transaction(&self.pool, move |conn| {
            async move {
                let group = &group[part];
                let keys: Vec<(Uuid, Uuid)> = group.iter().map(Finished::key).collect();
                let results: Vec<&Value> = group.iter().map(|job| &job.completed.result).collect();
                let done = inbox::complete(&mut *conn, queue, &keys, &results).await?;
                for finished in group.iter().filter(|finished| done.contains_key(&finished.key())) {
                    if let Some(effect) = &finished.completed.effect {
                        effect.write(&mut *conn).await?;
                    }
                }
                let ended = group.iter().filter(|finished| done.contains_key(&finished.key()));
                let settled: Vec<(Uuid, i32)> = ended.filter_map(|finished| finished.settles).collect();
                if !settled.is_empty() {
                    inbox::settle(&mut *conn, queue, &settled).await?;
                }
                faults::point("worker.completion.ready");
                Ok(done)
            }
            .boxed()
        })
        .await
    }
}
