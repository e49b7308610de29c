//! A handler that does only the jobs that benchmarks choose. The others are done at once, without an effect. A service chooses
//! all of them.

use messaging::inbox::Job;
use messaging::worker::{Completed, Failure, Handler};
use serde_json::json;
use sqlx::PgConnection;

#[derive(Debug)]
pub(crate) struct Chosen<H> {
    pub(crate) handler: H,
    /// `None`: all.
    pub(crate) chooses: Option<fn(&Job) -> bool>,
}

impl<H: Handler> Handler for Chosen<H> {
    async fn handle(&self, job: &Job) -> Result<Completed, Failure> {
        if self.chooses.is_none_or(|chooses| chooses(job)) {
            return self.handler.handle(job).await;
        }
        Ok(Completed::new(json!({ "skipped": "not chosen" })))
    }

    async fn in_doubt(&self, conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
        self.handler.in_doubt(conn, job, reason).await
    }

    async fn dead_lettered(&self, conn: &mut PgConnection, job: &Job, reason: &str) -> sqlx::Result<()> {
        self.handler.dead_lettered(conn, job, reason).await
    }
}
