//! `/health` (the process is alive), `/health/ready` (it can do its work), `/metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::http::accept;
use crate::metrics;

/// What Prometheus asks for when it keeps exemplars.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// How long one check may take before it counts as failed.
const CHECK_AT_MOST: Duration = Duration::from_secs(2);

/// How long what the checks have found is answered again.
const HOLDS_FOR: Duration = Duration::from_millis(500);

type Probe = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Something that the process needs in order to do its work.
pub struct Check {
    name: &'static str,
    probe: Probe,
    pool: Option<PgPool>,
}

impl Check {
    /// The error goes to the log, never to the client.
    pub fn new<P, F>(name: &'static str, probe: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, probe: Box::new(move || probe().boxed()), pool: None }
    }

    /// Whether the database answers. Also adds the pool's gauges to `/metrics`, under its application name.
    pub fn database(pool: &PgPool) -> Self {
        let probed = pool.clone();
        let mut check = Self::new("database", move || {
            let pool = probed.clone();
            async move { sqlx::query("select 1").execute(&pool).await.map(drop).map_err(|error| error.to_string()) }
        });
        check.pool = Some(pool.clone());
        check
    }

    /// Always passes, and adds the gauges of a pool to `/metrics`: for a pool that may be busy while the process does its
    /// work.
    pub fn gauges_of(pool: &PgPool) -> Self {
        Self { pool: Some(pool.clone()), ..Self::new("database", || async { Ok(()) }) }
    }

    async fn run(&self) -> bool {
        let why = match tokio::time::timeout(CHECK_AT_MOST, (self.probe)()).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {CHECK_AT_MOST:?}"),
        };
        tracing::warn!(check = self.name, error = why, "not ready");
        false
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `GET /health`, `GET /health/ready`, `GET /metrics`.
pub fn routes(checks: Vec<Check>) -> Router {
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(scrape))
        .with_state(Arc::new(Checks { all: checks, last: Mutex::default() }))
}

struct Checks {
    all: Vec<Check>,
    /// What the last run found. Probes may come from anyone, and each run takes a connection of every pool.
    last: Mutex<Option<(Instant, Vec<bool>)>>,
}

impl Checks {
    async fn run(&self) -> Vec<bool> {
        let mut last = self.last.lock().await;
        if let Some((_, outcomes)) = last.as_ref().filter(|(at, _)| at.elapsed() < HOLDS_FOR) {
            return outcomes.clone();
        }
        let outcomes = join_all(self.all.iter().map(Check::run)).await;
        *last = Some((Instant::now(), outcomes.clone()));
        outcomes
    }
}

async fn ready(State(checks): State<Arc<Checks>>) -> Response {
    let outcomes = checks.run().await;
    let checks = &checks.all;
    // Two checks with the same name are one line, which is ok only when both are.
    let mut by_name = BTreeMap::new();
    for (check, good) in checks.iter().zip(&outcomes) {
        *by_name.entry(check.name).or_insert(true) &= good;
    }
    let all_good = outcomes.iter().all(|good| *good);
    let words: BTreeMap<_, _> =
        by_name.into_iter().map(|(name, good)| (name, if good { "ok" } else { "unreachable" })).collect();
    let (status, word) =
        if all_good { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    (status, Json(json!({ "status": word, "checks": words }))).into_response()
}

/// Prometheus asks for OpenMetrics, which alone has exemplars.
async fn scrape(State(checks): State<Arc<Checks>>, headers: HeaderMap) -> impl IntoResponse {
    for pool in checks.all.iter().filter_map(|check| check.pool.as_ref()) {
        report(pool);
    }
    metrics::measure_runtime(&tokio::runtime::Handle::current().metrics());
    let (content_type, text) = if accept::prefers(&headers, OPEN_METRICS, "text/plain") {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics::render_open())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", metrics::render())
    };
    ([(header::CONTENT_TYPE, content_type), (header::VARY, "accept")], text)
}

fn report(pool: &PgPool) {
    let options = pool.connect_options();
    let name = options.get_application_name().unwrap_or("unnamed").to_owned();
    let (size, idle) = (f64::from(pool.size()), u32::try_from(pool.num_idle()).map_or(0.0, f64::from));
    for (state, count) in [("idle", idle), ("used", (size - idle).max(0.0))] {
        ::metrics::gauge!("db_pool_connections", "pool" => name.clone(), "state" => state).set(count);
    }
    ::metrics::gauge!("db_pool_connections_limit", "pool" => name).set(f64::from(pool.options().get_max_connections()));
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    async fn ask(checks: Vec<Check>, path: &str) -> (u16, Value) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = routes(checks).oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    fn good(name: &'static str) -> Check {
        Check::new(name, || async { Ok(()) })
    }

    fn bad(name: &'static str) -> Check {
        Check::new(name, || async { Err("password hush refused".to_owned()) })
    }

    #[tokio::test]
    async fn a_process_is_alive_when_its_checks_fail() {
        assert_eq!(ask(vec![bad("broker")], "/health").await, (200, json!({"status": "ok"})));
    }

    #[tokio::test]
    async fn ready_when_every_check_passes() {
        let answer = ask(vec![good("database"), good("broker")], "/health/ready").await;
        assert_eq!(answer, (200, json!({"status": "ready", "checks": {"broker": "ok", "database": "ok"}})));
    }

    #[tokio::test]
    async fn a_failed_check_is_named_but_not_quoted() {
        let answer = ask(vec![good("database"), bad("broker"), bad("database")], "/health/ready").await;
        let checks = json!({"broker": "unreachable", "database": "unreachable"});
        assert_eq!(answer, (503, json!({"status": "not_ready", "checks": checks})));
    }

    #[tokio::test]
    async fn a_check_that_hangs_has_failed() {
        let hangs = Check::new("broker", std::future::pending);
        let answer = ask(vec![hangs, good("database")], "/health/ready").await;
        assert_eq!((answer.0, &answer.1["checks"]["broker"]), (503, &json!("unreachable")));
        assert_eq!(answer.1["checks"]["database"], "ok");
    }
}
