//! What a queue's jobs do, and how they may end.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use runtime::database;
use serde_json::Value;
use sqlx::PgConnection;

use crate::inbox::Job;

/// What a queue's jobs do.
pub trait Handler: Send + Sync + 'static {
    /// Does one job.
    fn handle(&self, job: &Job) -> impl Future<Output = Result<Completed, Failure>> + Send;

    /// Called in the transaction that records a job as in doubt: its effect may have happened, and the next attempt finds out.
    fn in_doubt(
        &self,
        conn: &mut PgConnection,
        job: &Job,
        reason: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send {
        let _ = (conn, job, reason);
        async { Ok(()) }
    }

    /// Called in the transaction that marks a job dead, so that the handler can record the end of its effect as well.
    fn dead_lettered(
        &self,
        conn: &mut PgConnection,
        job: &Job,
        reason: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send {
        let _ = (conn, job, reason);
        async { Ok(()) }
    }
}

/// The work of a job is done. The worker records it as done, and writes its effect in the same commit.
#[derive(Debug)]
pub struct Completed {
    pub(super) result: Value,
    pub(super) effect: Option<Box<dyn Effect>>,
}

/// The rows that a job writes when it is done.
pub trait Effect: fmt::Debug + Send + Sync {
    /// Writes them in the caller's transaction. It may be called again, when that transaction was rolled back.
    fn write<'c>(&'c self, conn: &'c mut PgConnection) -> BoxFuture<'c, sqlx::Result<()>>;
}

impl Completed {
    /// Nothing is to be written but the result, which operators see.
    pub const fn new(result: Value) -> Self {
        Self { result, effect: None }
    }

    /// The effect is written together with the result.
    pub fn with(result: Value, effect: impl Effect + 'static) -> Self {
        Self { result, effect: Some(Box::new(effect)) }
    }
}

/// Why a job was not completed, and what follows from it. Each error of a handler becomes one of these by decision.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// This job failed, and may work later. It costs an attempt; after the last one the job is dead.
    #[error("{0}")]
    Retry(String),
    /// The dependency of the queue is down, so no job of the queue would work: the mail server, the payment gateway, Chromium,
    /// the invoice store. It costs no attempt and pauses the queue.
    ///
    /// Only an error that says nothing about this job counts. A job that brings its dependency down would pause the queue again
    /// and again.
    #[error("{0}")]
    Unavailable(String),
    /// Something that the job needs does not exist yet. It costs no attempts, and is tried again until the job is older than
    /// `within`. Then the job is dead.
    #[error("{why}")]
    NotYet { why: String, within: Duration },
    /// Another has taken it over, at this time, and will end it. It costs no attempts, and is looked up for as long as that takes.
    #[error("{why}")]
    UnderWay { why: String, since: DateTime<Utc> },
    /// The database was lost on the way, which says nothing about the job. It costs no attempt, and the job is tried again in
    /// a second, as in doubt. A job that is interrupted again and again waits up to a minute.
    #[error("{0}")]
    Interrupted(String),
    /// Will never work.
    #[error("{0}")]
    Dead(String),
    /// May have worked: find out before the next attempt.
    #[error("{0}")]
    InDoubt(String),
    /// Another worker has the job. This attempt was rolled back.
    #[error("the lease was lost to another worker")]
    LeaseLost,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::of_database(&error)
    }
}

impl Failure {
    /// What an error of the database means for a job.
    pub(super) fn of_database(error: &sqlx::Error) -> Self {
        database::note_loss(error);
        let why = format!("database: {error}");
        if database::interrupts(error) { Self::Interrupted(why) } else { Self::Retry(why) }
    }
}
