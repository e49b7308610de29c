//! What a queue's jobs do, and how they may end.

use std::future::Future;

use contracts::Queue;
use sqlx::PgConnection;

use crate::inbox::{self, Job};

/// What a queue's jobs do.
pub trait Handler: Send + Sync + 'static {
    /// Does one job.
    fn handle(&self, job: &Job) -> impl Future<Output = Result<Completed, Failure>> + Send;

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

/// Proof that a job was completed in the transaction of its effect.
#[derive(Debug)]
pub struct Completed(());

impl Completed {
    /// Completes `job` in the caller's transaction, which must then be committed.
    ///
    /// # Errors
    /// [`Failure::LeaseLost`] when another worker has the job now: roll back.
    pub async fn mark(conn: &mut PgConnection, job: &Job, result: &serde_json::Value) -> Result<Self, Failure> {
        if inbox::complete(conn, job, result).await? { Ok(Self(())) } else { Err(Failure::LeaseLost) }
    }
}

/// Why a job was not completed, and what follows from it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// May work later.
    #[error("{0}")]
    Retry(String),
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
        Self::Retry(format!("database: {error}"))
    }
}

/// A job that died, as it is reported to operators.
#[derive(Debug, Clone)]
pub struct DeadJob {
    pub queue: Queue,
    pub event_id: uuid::Uuid,
    pub event_type: String,
    pub aggregate_id: uuid::Uuid,
    pub attempts: i32,
    pub reason: String,
}
