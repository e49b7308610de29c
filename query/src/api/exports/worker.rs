//! Makes one export at a time. An export belongs to the process that makes it for as long as that process says so; when it dies, another
//! one begins the export again.

use std::sync::Arc;
use std::time::Duration;

use access::ConsistencyKey;
use chrono::TimeDelta;
use runtime::database::limited;
use runtime::{Clock, Ids, Tasks};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::ExportError;
use super::file::Sheet;
use super::making::Making;
use super::store::{self, Task};
use crate::api::reports::Period;

/// How long a process may be silent before its export is another's.
const OWNED_FOR: Duration = Duration::from_secs(60);
/// How often it says that it still makes it.
const RENEW: Duration = Duration::from_secs(15);
/// How often it looks for exports that another process was asked for.
const POLL: Duration = Duration::from_secs(5);
/// A failed attempt is repeated after as many times this long as there were attempts.
const RETRY: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: i32 = 3;
/// How long a file is kept.
const KEPT_FOR: TimeDelta = TimeDelta::days(1);
/// How long an export is remembered after its file is gone.
const REMEMBERED_FOR: TimeDelta = TimeDelta::days(30);

/// Makes exports, and signs the links to them.
#[derive(Debug)]
pub(crate) struct Exports {
    /// Bookkeeping, which must not wait for the reports.
    requests: PgPool,
    reports: PgPool,
    key: ConsistencyKey,
    clock: Clock,
    owner: Uuid,
    ids: Ids,
    asked: Notify,
}

impl Exports {
    pub(crate) fn start(
        requests: PgPool,
        reports: PgPool,
        key: ConsistencyKey,
        clock: Clock,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let ids = Ids::system();
        let exports = Arc::new(Self { requests, reports, key, clock, owner: ids.next(), ids, asked: Notify::new() });
        let (running, shutdown) = (exports.clone(), tasks.shutdown.clone());
        tasks.spawn("exports", async move {
            running.run(&shutdown).await;
            anyhow::Ok(())
        });
        exports
    }

    pub(super) fn key(&self) -> &ConsistencyKey {
        &self.key
    }

    pub(super) fn next_id(&self) -> Uuid {
        self.ids.next()
    }

    /// Has one made that was just asked for.
    pub(super) fn wake(&self) {
        self.asked.notify_one();
    }

    async fn run(&self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.turn(shutdown).await {
                Ok(true) => {}
                Ok(false) => self.rest(shutdown).await,
                Err(error) => {
                    tracing::warn!(%error, "exports wait for the database");
                    self.rest(shutdown).await;
                }
            }
        }
    }

    async fn rest(&self, shutdown: &CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.asked.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }

    /// Makes the next export, if there is one.
    async fn turn(&self, shutdown: &CancellationToken) -> sqlx::Result<bool> {
        let now = self.clock.now();
        limited(store::delete_expired(&self.requests, now, now - REMEMBERED_FOR)).await?;
        let Some(task) = limited(store::claim(&self.requests, self.owner, OWNED_FOR)).await? else {
            return Ok(false);
        };
        let id = task.id;
        let made = tokio::select! {
            made = self.make(&task) => made,
            // What was asked for while it stops is made by the next process.
            () = shutdown.cancelled() => return limited(store::give_back(&self.requests, id, self.owner)).await.map(|()| false),
        };
        match made {
            Ok((rows, bytes)) => {
                let (kind, format) = (task.kind.as_str(), task.format.as_str());
                tracing::info!(export = %id, kind, format, rows, bytes, attempt = task.attempt, "export made");
            }
            Err(ExportError::NotOurs) => tracing::warn!(export = %id, "another process makes the export now"),
            Err(error) => self.failed(&task, &error).await?,
        }
        Ok(true)
    }

    async fn failed(&self, task: &Task, error: &ExportError) -> sqlx::Result<()> {
        let is_final = matches!(error, ExportError::TooLarge(_)) || task.attempt >= MAX_ATTEMPTS;
        if !is_final {
            tracing::warn!(export = %task.id, %error, attempt = task.attempt, "export failed; it is tried again");
            let wait = RETRY * task.attempt.unsigned_abs();
            return limited(store::retry(&self.requests, task.id, self.owner, wait)).await;
        }
        let told = match error {
            ExportError::TooLarge(message) => message.clone(),
            error => {
                tracing::error!(alert = true, export = %task.id, %error, "export failed for good");
                format!("it failed {MAX_ATTEMPTS} times; the log of the query service has the reason under this id")
            }
        };
        limited(store::fail(&self.requests, task.id, self.owner, &told, self.clock.now())).await
    }

    /// Writes the file. Returns its rows and bytes.
    async fn make(&self, task: &Task) -> Result<(i64, i64), ExportError> {
        if task.attempt > MAX_ATTEMPTS {
            return Err(ExportError::Abandoned);
        }
        let mut making = Making::new(&self.requests, task.id, self.owner);
        let sheet = Sheet::new(task.format, task.kind.as_str())?;
        let renewing = async {
            loop {
                tokio::time::sleep(RENEW).await;
                match limited(store::renew(&self.requests, task.id, self.owner, OWNED_FOR)).await {
                    Ok(true) => {}
                    Ok(false) => return ExportError::NotOurs,
                    // The next statement that matters fails by itself.
                    Err(error) => tracing::warn!(%error, "an export could not be renewed"),
                }
            }
        };
        let period = Period { from: task.from, to: task.to };
        let written = tokio::select! {
            written = task.kind.write(&self.reports, period, sheet, &mut making) => written?,
            lost = renewing => return Err(lost),
        };
        let rest = spawn_blocking(move || written.finish()).await.map_err(ExportError::file)??;
        making.store(rest, true).await?;
        let (written, now) = (making.written(), self.clock.now());
        if !limited(store::finish(&self.requests, task.id, self.owner, written, now, now + KEPT_FOR)).await? {
            return Err(ExportError::NotOurs);
        }
        Ok(written)
    }
}
