//! Which traces are recorded.

use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

use crate::config::{TraceSampler, TracesConfig};

/// The sampler of the settings, with two rules of our own for traces that start here.
///
/// - Probes and scrapes are not recorded: there are thousands a day, and each is like the others.
/// - A retry is recorded if what it links to is. With a decision of its own, of a hundred recorded orders that failed, one retry
///   would be seen.
#[derive(Debug, Clone)]
struct OurSampler {
    standard: Sampler,
    as_linked: bool,
}

pub(super) fn sampler(config: &TracesConfig) -> impl ShouldSample + 'static {
    let ratio = Sampler::TraceIdRatioBased(config.sample_ratio);
    let by_parent = |root| Sampler::ParentBased(Box::new(root));
    let standard = match config.sampler {
        TraceSampler::AlwaysOn => Sampler::AlwaysOn,
        TraceSampler::AlwaysOff => Sampler::AlwaysOff,
        TraceSampler::TraceIdRatio => ratio,
        TraceSampler::ParentBasedAlwaysOn => by_parent(Sampler::AlwaysOn),
        TraceSampler::ParentBasedAlwaysOff => by_parent(Sampler::AlwaysOff),
        TraceSampler::ParentBasedTraceIdRatio => by_parent(ratio),
    };
    let as_linked = matches!(standard, Sampler::ParentBased(_));
    OurSampler { standard, as_linked }
}

impl ShouldSample for OurSampler {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let starts_here = parent.is_none_or(|parent| !parent.span().span_context().is_valid());
        let is_linked = self.as_linked && !links.is_empty();
        let record = match starts_here {
            true if is_probe(kind, name) => Some(false),
            true if is_linked => Some(links.iter().any(|link| link.span_context.is_sampled())),
            _ => None,
        };
        match record {
            None => self.standard.should_sample(parent, trace_id, name, kind, attributes, links),
            Some(record) => SamplingResult {
                decision: if record { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
                attributes: Vec::new(),
                trace_state: TraceState::default(),
            },
        }
    }
}

fn is_probe(kind: &SpanKind, name: &str) -> bool {
    *kind == SpanKind::Server && matches!(name, "GET /health" | "GET /health/ready" | "GET /metrics")
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::SpanContext;

    use super::*;
    use crate::telemetry::trace::parse;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";

    fn other(sampled: bool) -> SpanContext {
        parse(&format!("{TRACE}{}", u8::from(sampled))).expect("well formed")
    }

    fn records(sampler: TraceSampler, ratio: f64, name: &str, parent: Option<bool>, link: Option<bool>) -> bool {
        let config = TracesConfig { sampler, sample_ratio: ratio, ..TracesConfig::default() };
        let parent = parent.map(|sampled| Context::new().with_remote_span_context(other(sampled)));
        let links: Vec<_> = link.map(|sampled| Link::new(other(sampled), Vec::new(), 0)).into_iter().collect();
        let trace_id = TraceId::from_bytes([7; 16]);
        let result =
            super::sampler(&config).should_sample(parent.as_ref(), trace_id, name, &SpanKind::Server, &[], &links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn a_trace_is_recorded_as_its_parent_or_link_is_and_probes_are_not() {
        use TraceSampler::{AlwaysOff, AlwaysOn, ParentBasedAlwaysOff, ParentBasedTraceIdRatio};
        for (sampler, ratio, name, parent, link, recorded) in [
            (ParentBasedTraceIdRatio, 1.0, "POST /orders", None, None, true),
            (ParentBasedTraceIdRatio, 0.0, "POST /orders", None, None, false),
            (ParentBasedTraceIdRatio, 0.0, "POST /orders", Some(true), None, true),
            (ParentBasedTraceIdRatio, 1.0, "POST /orders", Some(false), None, false),
            (ParentBasedTraceIdRatio, 0.0, "process refunds", None, Some(true), true),
            (ParentBasedTraceIdRatio, 1.0, "process refunds", None, Some(false), false),
            (ParentBasedTraceIdRatio, 1.0, "GET /health/ready", None, None, false),
            (ParentBasedTraceIdRatio, 1.0, "GET /metrics", Some(true), None, true),
            (ParentBasedAlwaysOff, 1.0, "process refunds", None, Some(true), true),
            (AlwaysOff, 1.0, "process refunds", None, Some(true), false),
            (AlwaysOn, 0.0, "process refunds", None, Some(false), true),
        ] {
            let case = format!("{sampler:?} {ratio} {name} {parent:?} {link:?}");
            assert_eq!(records(sampler, ratio, name, parent, link), recorded, "{case}");
        }
    }
}
