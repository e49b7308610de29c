//! Recorded traces beside the histograms of times: the last one of each bucket. Only measurements in a recorded trace get here, so the
//! others cost nothing.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt, TraceId};

use super::SECONDS;
use crate::clock::Clock;

/// By series, as `name{label="value"}`: as many as there are histograms of times.
static ALL: LazyLock<RwLock<HashMap<String, Arc<Exemplars>>>> = LazyLock::new(RwLock::default);

/// The exemplars of one series.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    /// The last bucket has no bound.
    buckets: [Mutex<Option<Exemplar>>; SECONDS.len() + 1],
}

/// A measurement in a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exemplar {
    pub(super) trace_id: TraceId,
    pub(super) seconds: f64,
    pub(super) at: DateTime<Utc>,
}

impl Exemplars {
    pub(super) fn note(&self, seconds: f64, recorded: Option<TraceId>) {
        let Some(trace_id) = recorded else { return };
        let place = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        let exemplar = Exemplar { trace_id, seconds, at: Clock::system().now() };
        *self.buckets[place].lock().unwrap_or_else(PoisonError::into_inner) = Some(exemplar);
    }
}

/// The exemplars of a series, which may be new.
pub(super) fn of(name: &str, labels: &[(&str, &str)]) -> Arc<Exemplars> {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let series = format!("{name}{{{}}}", labels.join(","));
    if let Some(known) = ALL.read().unwrap_or_else(PoisonError::into_inner).get(&series) {
        return Arc::clone(known);
    }
    Arc::clone(ALL.write().unwrap_or_else(PoisonError::into_inner).entry(series).or_default())
}

/// The exemplar of a bucket of a series. `le` is the bucket's bound; without one it is the last.
pub(super) fn find(series: &str, le: Option<f64>) -> Option<Exemplar> {
    let place = match le {
        Some(le) => SECONDS.iter().position(|bound| *bound >= le)?,
        None => SECONDS.len(),
    };
    let all = ALL.read().unwrap_or_else(PoisonError::into_inner);
    *all.get(series)?.buckets[place].lock().unwrap_or_else(PoisonError::into_inner)
}

/// A histogram of times with one label, and with exemplars from the current trace.
#[derive(Debug)]
pub struct Durations {
    name: &'static str,
    label: &'static str,
}

impl Durations {
    pub const fn new(name: &'static str, label: &'static str) -> Self {
        Self { name, label }
    }

    /// `value` is that of the label.
    pub fn record(&self, value: &'static str, elapsed: Duration) {
        metrics::histogram!(self.name, self.label => value).record(elapsed);
        let context = Context::current();
        let span = context.span();
        if span.span_context().is_sampled() {
            of(self.name, &[(self.label, value)]).note(elapsed.as_secs_f64(), Some(span.span_context().trace_id()));
        }
    }
}
