//! What OpenTelemetry's conventions for messaging say about a message: its `send`, and its `process`.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use opentelemetry::trace::{Link, Span as _, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use uuid::Uuid;

use super::TRACER;
use super::trace::{Cause, link, parse, sampled, set_attribute};

/// Links of one span to the messages that it takes together.
const MOST_LINKS: usize = 32;

/// What carries messages, by the name that the conventions give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessagingSystem {
    Postgresql,
    Rabbitmq,
}

impl MessagingSystem {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Rabbitmq => "rabbitmq",
        }
    }
}

/// A message, and where it goes or comes from.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub system: MessagingSystem,
    pub destination: &'a str,
    pub id: Uuid,
    /// What the message says, as `order.shipped`.
    pub event: &'a str,
}

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    pub message: Message<'a>,
    pub cause: Cause<'a>,
    pub started: DateTime<Utc>,
    /// When it was confirmed, or failed.
    pub ended: DateTime<Utc>,
    /// One of few words.
    pub error: Option<&'static str>,
}

/// Records the span of a message that was sent, if the trace of its cause is recorded.
pub fn record_sent(sent: &Sent<'_>) {
    let (Cause::Parent(cause) | Cause::Link(cause)) = sent.cause;
    let (Some(tracer), Some(cause)) = (TRACER.get(), cause.and_then(parse)) else { return };
    if !cause.is_sampled() {
        return;
    }
    let (parent, links) = match sent.cause {
        Cause::Parent(_) => (Context::new().with_remote_span_context(cause), Vec::new()),
        Cause::Link(_) => (Context::new(), vec![Link::new(cause, Vec::new(), 0)]),
    };
    let Message { system, destination, id, event } = sent.message;
    let started = SystemTime::from(sent.started);
    let mut span = tracer
        .span_builder(format!("send {destination}"))
        .with_kind(SpanKind::Producer)
        .with_start_time(started)
        .with_links(links)
        .with_attributes([
            KeyValue::new("messaging.system", system.as_str()),
            KeyValue::new("messaging.destination.name", destination.to_owned()),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.message.id", id.to_string()),
            KeyValue::new("event.kind", event.to_owned()),
        ])
        .start_with_context(tracer, &parent);
    if let Some(error) = sent.error {
        span.set_attribute(KeyValue::new("error.type", error));
        span.set_status(Status::error(""));
    }
    span.end_with_timestamp(SystemTime::from(sent.ended).max(started));
}

/// Records in `span`, whose kind is `consumer`, which message is processed and since when it had been there.
pub fn job_received(span: &Span, message: &Message<'_>, received_at: DateTime<Utc>) {
    if sampled(span).is_none() {
        return;
    }
    processes(span, message.system, message.destination);
    set_attribute(span, "messaging.message.id", message.id.to_string());
    span.add_event_with_timestamp("received", received_at.into(), Vec::new());
}

/// Records in `span`, whose kind is `consumer`, which messages are processed together: links to those whose traces are recorded.
pub fn take_messages<'a>(span: &Span, queue: &'static str, traceparents: impl Iterator<Item = Option<&'a str>>) {
    let mut count = 0_i64;
    for traceparent in traceparents {
        count += 1;
        if let Some(recorded) = traceparent.filter(|traceparent| traceparent.ends_with("-01"))
            && count <= i64::try_from(MOST_LINKS).unwrap_or(i64::MAX)
        {
            link(span, recorded);
        }
    }
    if sampled(span).is_some() {
        processes(span, MessagingSystem::Postgresql, queue);
        set_attribute(span, "messaging.batch.message_count", count);
    }
}

fn processes(span: &Span, system: MessagingSystem, destination: &str) {
    set_attribute(span, "messaging.system", system.as_str());
    set_attribute(span, "messaging.destination.name", destination.to_owned());
    set_attribute(span, "messaging.operation.name", "process");
    set_attribute(span, "messaging.operation.type", "process");
}
