//! The connections of the query service. Each kind of work has its own, so that none can take those of another: a slow report
//! does not hold up the projector, and requests that wait for the projector do not either.

use access::ConsistencyKey;
use anyhow::{Context, Result};
use runtime::config::DatabaseConfig;
use runtime::database;
use runtime::health::Check;
use sqlx::PgPool;

use crate::Settings;

/// The role of every connection.
pub const ROLE: &str = "articurated_query";
/// The task that looks for all waiting requests runs one statement at a time.
const WAITING: u32 = 1;
/// Keys of callers are looked up seldom, and must not wait for the projector.
const CALLERS: u32 = 1;

/// One hears of new events and one follows the end of the log; the other reads pages of the event feed.
const EVENTS: u32 = 3;

/// The pools.
#[derive(Debug, Clone)]
pub struct Pools {
    /// The projector's, to the database with the outbox.
    pub(crate) messaging: PgPool,
    /// The projector's, to the read models, if those are in another database.
    pub(crate) models: Option<PgPool>,
    pub(crate) requests: PgPool,
    pub(crate) waiting: PgPool,
    pub(crate) reports: PgPool,
    /// Of the event feed, to the database with the outbox.
    pub(crate) events: PgPool,
    /// To the database of the commands, which has the keys of callers.
    callers: PgPool,
    /// The key of consistency tokens, from the database with the outbox.
    pub(crate) consistency_key: ConsistencyKey,
}

impl Pools {
    /// Connects to the database with the outbox, and to that of the read models if it is another one.
    ///
    /// # Errors
    /// A database cannot be used, or its connections are too few for all pools.
    pub async fn connect(
        messaging: &DatabaseConfig,
        read: Option<&DatabaseConfig>,
        settings: &Settings,
    ) -> Result<Self> {
        let (projector, reports) = (settings.projector_connections, settings.report_connections);
        let requests = for_requests(read.unwrap_or(messaging).max_connections, settings)?;
        let models = match read {
            Some(read) => Some(projector_pool(read, projector).await.context("QUERY_DATABASE_URL")?),
            None => None,
        };
        let read = read.unwrap_or(messaging);
        let callers = pool(messaging, CALLERS, "query callers").await?;
        let events = connect(messaging, EVENTS, "query events", schema::admission_for_loops()).await?;
        let messaging = projector_pool(messaging, projector).await?;
        let consistency_key = ConsistencyKey::load(&messaging).await.context("the key of consistency tokens")?;
        Ok(Self {
            messaging,
            callers,
            events,
            consistency_key,
            models,
            requests: pool(read, requests, "query").await?,
            waiting: connect(read, WAITING, "query waiting", schema::admission_for_loops()).await?,
            reports: pool(read, reports, "query reports").await?,
        })
    }

    /// The pool on the database of the commands, which has the keys of callers.
    pub fn of_commands(&self) -> &PgPool {
        &self.callers
    }

    /// The process is ready when the projector and the requests reach their databases. Reports may keep all of theirs busy.
    pub fn checks(&self) -> Vec<Check> {
        let needed = [Some(&self.messaging), self.models.as_ref(), Some(&self.requests)];
        let mut checks: Vec<_> = needed.into_iter().flatten().map(Check::database).collect();
        checks.extend([&self.waiting, &self.reports, &self.callers, &self.events].map(Check::gauges_of));
        checks
    }
}

async fn pool(config: &DatabaseConfig, max_connections: u32, name: &str) -> Result<PgPool> {
    connect(config, max_connections, name, schema::admission()).await
}

async fn projector_pool(config: &DatabaseConfig, max_connections: u32) -> Result<PgPool> {
    connect(config, max_connections, "query projector", schema::admission_for_loops()).await
}

async fn connect(config: &DatabaseConfig, max_connections: u32, name: &str, admission: &'static str) -> Result<PgPool> {
    let config = DatabaseConfig { max_connections, ..config.clone() };
    database::connect_admitted(&config, ROLE, name, admission).await
}

/// What the others leave of the connections.
fn for_requests(all: u32, settings: &Settings) -> Result<u32> {
    let Settings { projector_connections: projector, report_connections: reports, .. } = settings;
    let others = projector + reports + WAITING + CALLERS + EVENTS;
    all.checked_sub(others).filter(|left| *left > 0).with_context(|| {
        format!(
            "DATABASE_MAX_CONNECTIONS={all} leaves no connection for requests beside PROJECTOR_CONNECTIONS={projector}, \
             REPORT_CONNECTIONS={reports}, {WAITING} for waiting requests, {EVENTS} for events and {CALLERS} for the keys of callers; set it to {} or more",
            others + 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_get_what_the_others_leave_and_at_least_one() {
        let settings = Settings::default();
        assert_eq!(for_requests(DatabaseConfig::default().max_connections, &settings).ok(), Some(4));
        assert_eq!(for_requests(13, &settings).ok(), Some(1));
        let refused = for_requests(12, &settings).expect_err("nothing is left").to_string();
        assert!(
            refused.contains("DATABASE_MAX_CONNECTIONS=12") && refused.ends_with("set it to 13 or more"),
            "{refused}"
        );
    }
}
