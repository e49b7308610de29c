//! Prometheus metrics: the recorder, the buckets, and the histograms of HTTP requests.

mod exemplars;
mod openmetrics;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TraceId;

pub use exemplars::Durations;
use exemplars::Exemplars;

/// The label of unknown methods.
const OTHER: &str = "OTHER";
const HTTP_DURATION: &str = "http_server_request_duration_seconds";
/// Histograms collect raw samples until they are folded into buckets. A scrape does that, but a process may never be
/// scraped.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// Seconds: half a millisecond for a cached read, ten minutes for a job that waits for its retry.
const SECONDS: [f64; 18] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// Anything that is counted: rows in a batch, attempts.
const COUNTS: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0];
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Gauges that [`render`] leaves out.
static HIDDEN: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());
static PROMETHEUS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Makes `metrics`' macros count. Safe to call again; must run before the first handle is made, because a handle
/// made earlier counts nowhere.
pub fn install() {
    PROMETHEUS.get_or_init(|| match recorder() {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "no metrics");
            None
        }
    });
}

fn recorder() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
        .set_buckets(&COUNTS)?
        .install_recorder()?;
    metrics::describe_histogram!(HTTP_DURATION, Unit::Seconds, "Time from request to answer, by route and status.");
    metrics::describe_gauge!("db_pool_connections", Unit::Count, "Connections of a database pool, by state.");
    metrics::describe_gauge!(
        "db_pool_connections_limit",
        Unit::Count,
        "The most connections that a database pool opens."
    );
    metrics::describe_gauge!("runtime_workers", Unit::Count, "Threads that run the tasks of the process.");
    metrics::describe_gauge!("runtime_tasks", Unit::Count, "Tasks that have started and not ended.");
    metrics::describe_gauge!("runtime_queued_tasks", Unit::Count, "Tasks that wait for a thread.");
    metrics::describe_counter!("runtime_busy_milliseconds_total", "For how long the threads have run tasks, added up.");
    let folding = handle.clone();
    std::thread::Builder::new().name("fold-metrics".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(FOLD_EVERY);
            folding.run_upkeep();
        }
    })?;
    Ok(handle)
}

/// Everything measured so far, in the Prometheus text format; empty before [`install`].
pub fn render() -> String {
    let text = PROMETHEUS.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default();
    without(text, &HIDDEN.read().unwrap_or_else(PoisonError::into_inner))
}

/// The same in the format of OpenMetrics 1.0, with exemplars: recorded traces in which such a time was measured.
pub fn render_open() -> String {
    openmetrics::with_exemplars(&render(), exemplars::find)
}

/// How busy the runtime of this process is, at a scrape.
pub(crate) fn measure_runtime(runtime: &tokio::runtime::RuntimeMetrics) {
    let count = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    let busy: Duration = (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
    metrics::gauge!("runtime_workers").set(count(runtime.num_workers()));
    metrics::gauge!("runtime_tasks").set(count(runtime.num_alive_tasks()));
    metrics::gauge!("runtime_queued_tasks").set(count(runtime.global_queue_depth()));
    // Counters are whole numbers.
    metrics::counter!("runtime_busy_milliseconds_total").absolute(u64::try_from(busy.as_millis()).unwrap_or(u64::MAX));
}

/// Shows gauges, or hides them. The recorder cannot forget a gauge, and a process that no longer keeps a figure up to date
/// must not go on showing the last one.
pub fn show(gauges: &[&'static str], shown: bool) {
    let mut hidden = HIDDEN.write().unwrap_or_else(PoisonError::into_inner);
    for &name in gauges {
        if shown {
            hidden.remove(name);
        } else {
            hidden.insert(name);
        }
    }
}

fn without(text: String, hidden: &BTreeSet<&'static str>) -> String {
    if hidden.is_empty() {
        return text;
    }
    text.split_inclusive('\n').filter(|line| !hidden.contains(metric_of(line))).collect()
}

/// The metric that a line is about: `name 1`, `name{label="value"} 1` or `# TYPE name gauge`.
fn metric_of(line: &str) -> &str {
    let line = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP ")).unwrap_or(line);
    line.split(['{', ' ']).next().unwrap_or_default()
}

/// The HTTP histograms by route, method and status, kept so that a request formats no label.
pub(crate) struct Routes {
    service: &'static str,
    /// Bounded: by the routes of the router, the methods of [`known_method`] and the statuses in use.
    by_path: RwLock<HashMap<Box<str>, Vec<Arc<Route>>>>,
}

/// One route and method.
pub(crate) struct Route {
    /// Of its spans. Without a route it is the method alone.
    name: String,
    path: Box<str>,
    method: &'static str,
    service: &'static str,
    by_status: RwLock<Vec<(StatusCode, Histogram, Arc<Exemplars>)>>,
}

impl Routes {
    pub(crate) fn new(service: &'static str) -> Self {
        Self { service, by_path: RwLock::default() }
    }

    /// `path` is the route's template. `None` stands for every path without a route: they share one label.
    pub(crate) fn get(&self, path: Option<&str>, method: &Method) -> Arc<Route> {
        let (path, is_route) = (path.unwrap_or("unmatched"), path.is_some());
        let method = known_method(method).unwrap_or(OTHER);
        let known = |routes: &HashMap<Box<str>, Vec<Arc<Route>>>| {
            routes.get(path)?.iter().find(|route| route.method == method).cloned()
        };
        if let Some(route) = known(&self.by_path.read().unwrap_or_else(PoisonError::into_inner)) {
            return route;
        }
        let mut routes = self.by_path.write().unwrap_or_else(PoisonError::into_inner);
        known(&routes).unwrap_or_else(|| {
            let route = Arc::new(Route {
                name: span_name(method, is_route.then_some(path)),
                path: path.into(),
                method,
                service: self.service,
                by_status: RwLock::default(),
            });
            routes.entry(path.into()).or_default().push(Arc::clone(&route));
            route
        })
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Route {
    /// `GET /api/v1/orders/{id}`
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `recorded` is the trace of the request, if it is recorded.
    pub(crate) fn record(&self, status: StatusCode, elapsed: Duration, recorded: Option<TraceId>) {
        let seconds = elapsed.as_secs_f64();
        let known = self.by_status.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, histogram, exemplars)) = known.iter().find(|(known, ..)| *known == status) {
            histogram.record(seconds);
            exemplars.note(seconds, recorded);
            return;
        }
        drop(known);
        let histogram = metrics::histogram!(
            HTTP_DURATION,
            "service" => self.service,
            "route" => self.path.to_string(),
            "method" => self.method,
            "status" => status.as_str().to_owned(),
        );
        histogram.record(seconds);
        let labels =
            [("service", self.service), ("route", &self.path), ("method", self.method), ("status", status.as_str())];
        let exemplars = exemplars::of(HTTP_DURATION, &labels);
        exemplars.note(seconds, recorded);
        // Two requests may both get here. The second entry is never found and does no harm.
        self.by_status.write().unwrap_or_else(PoisonError::into_inner).push((status, histogram, exemplars));
    }
}

/// As OpenTelemetry's conventions for HTTP have it.
fn span_name(method: &str, route: Option<&str>) -> String {
    let method = if method == OTHER { "HTTP" } else { method };
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

/// A client can send any word as a method: `None` for those that share a label.
pub(crate) fn known_method(method: &Method) -> Option<&'static str> {
    Some(match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_gauge_leaves_no_line_and_takes_no_other_with_it() {
        let text = "# HELP rows Rows.\n# TYPE rows gauge\nrows{queue=\"a b\"} 1\nrows{queue=\"b\"} 2\n\n\
                    # TYPE rows_parked gauge\nrows_parked 3\n";
        let left = without(text.to_owned(), &BTreeSet::from(["rows"]));
        assert_eq!(left, "\n# TYPE rows_parked gauge\nrows_parked 3\n");
        assert_eq!(without(text.to_owned(), &BTreeSet::new()), text);
    }
}
