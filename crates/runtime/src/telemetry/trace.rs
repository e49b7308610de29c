//! W3C Trace Context: the current trace, and how work goes on with the trace of what caused it.

use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What work has to do with the trace of what caused it: with the `traceparent` of the cause, if it has one.
#[derive(Debug, Clone, Copy)]
pub enum Cause<'a> {
    /// It follows promptly, as the first attempt does: a child in the same trace.
    Parent(Option<&'a str>),
    /// It comes later, as a retry or a replay does: a trace of its own, with a link back.
    Link(Option<&'a str>),
}

/// The W3C `traceparent` of the current span, to be sent or stored with the work that it causes.
pub fn traceparent() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}

/// The current trace's id, 32 hexadecimal digits.
pub fn trace_id() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// Puts `span` into the trace of its cause, or links it. Must be called before the span is entered. An invalid
/// `traceparent` is ignored, as W3C Trace Context requires.
pub fn follow(span: &Span, cause: Cause<'_>) {
    let parent = match cause {
        Cause::Parent(traceparent) => match traceparent.and_then(parse) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => return,
        },
        Cause::Link(_) => Context::new(),
    };
    // An error means that no subscriber records spans.
    let _ = span.set_parent(parent);
    if let Cause::Link(Some(traceparent)) = cause {
        link(span, traceparent);
    }
}

/// Links `span` to another trace that it has to do with.
pub fn link(span: &Span, traceparent: &str) {
    if let Some(other) = parse(traceparent) {
        span.add_link(other);
    }
}

/// The trace of `span`, if it will be exported. It starts the span.
pub(crate) fn sampled(span: &Span) -> Option<TraceId> {
    let context = span.context();
    let span = context.span();
    span.span_context().is_sampled().then(|| span.span_context().trace_id())
}

/// Whether `span` will be exported.
pub fn is_recorded(span: &Span) -> bool {
    sampled(span).is_some()
}

/// Sets an attribute of the trace's span only. A text field of the `tracing` span would make the log layer format all of them again.
pub fn set_attribute(span: &Span, key: &'static str, value: impl Into<Value>) {
    span.set_attribute(key, value);
}

/// Marks a span as failed. `kind` is one of few words.
pub fn fail(span: &Span, kind: impl Into<Value>) {
    span.set_attribute("error.type", kind);
    span.set_status(Status::error(""));
}

/// W3C Trace Context, level 1: `version-traceid-spanid-flags`, lower-case hexadecimal.
pub(super) fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let well_formed = [(version, 2), (trace, 32), (span, 16), (flags, 2)].into_iter().all(|(part, length)| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        flags,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}
