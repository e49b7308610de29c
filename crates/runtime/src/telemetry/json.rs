//! One JSON object per log line, with the fields of the event and of its spans on one level, so that `request_id` is at
//! the same place in every line.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

#[derive(Debug)]
pub(super) struct JsonLines {
    pub(super) service: &'static str,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Map::new();
        // From the outermost span inwards, then the event: the nearest value of a field wins.
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            if let Some(of_span) = extensions.get::<FormattedFields<JsonFields>>()
                && let Ok(of_span) = serde_json::from_str::<Map<String, Value>>(&of_span.fields)
            {
                fields.extend(of_span.into_iter().filter(|(name, _)| !name.starts_with("otel.")));
            }
            fields.insert("span".to_owned(), span.name().into());
        }
        let trace = Context::current();
        let trace = trace.span();
        if trace.span_context().is_valid() {
            fields.insert("trace_id".to_owned(), trace.span_context().trace_id().to_string().into());
            fields.insert("span_id".to_owned(), trace.span_context().span_id().to_string().into());
        }
        event.record(&mut Fields(&mut fields));
        let line = Line {
            timestamp,
            level: event.metadata().level().as_str(),
            message: fields.remove("message"),
            service: self.service,
            target: event.metadata().target(),
            fields,
        };
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(out, "{line}")
    }
}

/// The fields that people look for first come first.
#[derive(Serialize)]
struct Line<'l> {
    timestamp: String,
    level: &'static str,
    message: Option<Value>,
    service: &'static str,
    target: &'l str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

struct Fields<'l>(&'l mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        // Records that dependencies write through `log` have fields `log.…`, which repeat target and file.
        if !field.name().starts_with("log.") {
            self.0.insert(field.name().trim_start_matches("r#").to_owned(), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_holds_the_fields_of_its_spans_and_the_nearest_wins() {
        let paper = Paper::default();
        let writer = paper.clone();
        let layer = fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines { service: "test" })
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _outer = tracing::info_span!("outer", request_id = "r-1", attempt = 1, otel.kind = "server").entered();
            let _inner = tracing::info_span!("inner", attempt = 2).entered();
            tracing::warn!(error = "a \"quoted\" text", count = 3_u64, "it\nbroke");
        });
        let text = String::from_utf8(paper.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(text.starts_with(r#"{"timestamp":""#), "{text}");
        let mut line: Value = serde_json::from_str(&text).expect("JSON");
        line["timestamp"].take();
        assert_eq!(
            line,
            serde_json::json!({
                "timestamp": null, "level": "WARN", "message": "it\nbroke", "service": "test",
                "target": "runtime::telemetry::json::tests", "span": "inner", "request_id": "r-1", "attempt": 2,
                "error": "a \"quoted\" text", "count": 3,
            })
        );
    }
}
