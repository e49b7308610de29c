use axum::Router;
use axum::routing::post;
use opentelemetry::trace::{Span as _, Tracer};
use tokio::sync::mpsc;

use super::trace::parse;
use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn only_a_traceparent_is_one() {
    let sampled = parse(&format!("00-{TRACE}-00f067aa0ba902b7-01")).expect("well formed");
    assert!(sampled.is_sampled() && sampled.is_remote());
    assert_eq!(sampled.trace_id().to_string(), TRACE);
    assert!(parse(&format!("cc-{TRACE}-00f067aa0ba902b7-00-from-the-future")).is_some());
    for bad in [
        "",
        "00",
        &format!("00-{TRACE}-00f067aa0ba902b7"),
        &format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
        &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
        &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
        &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        &format!("00-{TRACE}-0000000000000000-01"),
        &format!("00-{TRACE}-00f067aa0ba902b7-+1"),
    ] {
        assert!(parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn a_trace_goes_on_without_a_collector_and_init_may_be_repeated() {
    let config = TelemetryConfig { log_filter: "info".to_owned(), ..TelemetryConfig::default() };
    let guards = [init("first", &config).expect("installed"), init("second", &config).expect("ignored")];
    let span = tracing::info_span!("job");
    follow(&span, Cause::Parent(Some(&format!("00-{TRACE}-00f067aa0ba902b7-01"))));
    span.in_scope(|| {
        assert_eq!(trace_id().as_deref(), Some(TRACE));
        let sent = traceparent().expect("a trace");
        assert!(sent.starts_with(&format!("00-{TRACE}-")) && !sent.contains("00f067aa0ba902b7"), "{sent}");
    });
    let fresh = tracing::info_span!("another");
    follow(&fresh, Cause::Parent(Some("rubbish")));
    fresh.in_scope(|| assert_ne!(trace_id().expect("a trace of its own"), TRACE));
    assert_eq!(trace_id(), None);
    guards.into_iter().for_each(TelemetryGuard::shutdown);
}

#[test]
fn a_filter_that_does_not_parse_is_an_error() {
    let config = TelemetryConfig { log_filter: "a=b=c".to_owned(), ..TelemetryConfig::default() };
    assert!(init("test", &config).expect_err("no filter").to_string().contains("LOG=\"a=b=c\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_a_collector() -> anyhow::Result<()> {
    tls::install();
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let collect = move |body: axum::body::Bytes| {
        let arrived = arrived.clone();
        async move { arrived.send(body).map_err(|_| axum::http::StatusCode::GONE) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let collector = Router::new().route("/v1/traces", post(collect));
    tokio::spawn(async move { axum::serve(listener, collector).await });

    let resource_attributes = Some(crate::config::Pairs(vec![("team".to_owned(), "parcels".to_owned())]));
    let config = TracesConfig { endpoint: Some(endpoint), resource_attributes, ..TracesConfig::default() };
    let (traces, error) = tracer_provider("shop", &config);
    assert_eq!(error, None);
    let mut span = traces.tracer("shop").start("a-span-by-name");
    span.set_attribute(KeyValue::new("row.started_at", 1_000_000_i64));
    span.end();
    // As in `main`: the thread that waits is not one of the runtime's workers.
    tokio::task::spawn_blocking(move || TelemetryGuard { traces }.shutdown()).await?;
    let body = tokio::time::timeout(Duration::from_secs(5), arrivals.recv()).await?.expect("a batch");
    let holds = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a-span-by-name") && holds("shop") && holds("parcels"));
    assert!(!holds("row.started_at"), "it has become the time of the span");
    Ok(())
}
