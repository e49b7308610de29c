//! A collector of traces: it takes OTLP over HTTP and over gRPC, and keeps the spans.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;
use tokio::net::TcpListener;
use tonic::codegen::async_trait;
use tonic::transport::server::TcpIncoming;

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// A header that it asks for, with its value.
pub const TOKEN: (&str, &str) = ("x-collector-token", "open sesame");

/// A collector on ports of its own.
#[derive(Debug)]
pub struct Collector {
    /// Base address for `http/protobuf`.
    pub http: String,
    /// Base address for `grpc`.
    pub grpc: String,
    spans: Spans,
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A span as it was received.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    /// Ids in hexadecimal.
    pub trace_id: String,
    pub span_id: String,
    /// Empty for the first span of a trace.
    pub parent: String,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub attributes: BTreeMap<String, String>,
    /// Trace and span.
    pub links: Vec<(String, String)>,
    pub events: Vec<(String, DateTime<Utc>)>,
    pub has_failed: bool,
}

impl Span {
    /// An attribute; empty without it.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    pub async fn start() -> Result<Self> {
        let spans = Spans::default();
        let (http, grpc) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let addresses = [http.local_addr()?, grpc.local_addr()?].map(|address| format!("http://{address}"));
        let over_http = Router::new().route("/v1/traces", post(receive)).with_state(spans.clone());
        tokio::spawn(async move { axum::serve(http, over_http).await });
        let over_grpc =
            tonic::transport::Server::builder().add_service(TraceServiceServer::new(Receiver(spans.clone())));
        tokio::spawn(over_grpc.serve_with_incoming(TcpIncoming::from(grpc)));
        let [http, grpc] = addresses;
        Ok(Self { http, grpc, spans })
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn receive(
    axum::extract::State(spans): axum::extract::State<Spans>,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> StatusCode {
    if headers.get(TOKEN.0).is_none_or(|token| token != TOKEN.1) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    keep(&spans, request);
    StatusCode::OK
}

#[derive(Debug)]
struct Receiver(Spans);

#[async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        if request.metadata().get(TOKEN.0).is_none_or(|token| token != TOKEN.1) {
            return Err(tonic::Status::unauthenticated("no token"));
        }
        keep(&self.0, request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn keep(spans: &Spans, request: ExportTraceServiceRequest) {
    let mut received = Vec::new();
    for resource in request.resource_spans {
        let about = attributes(resource.resource.unwrap_or_default().attributes);
        let service = about.get("service.name").cloned().unwrap_or_default();
        let of_resource = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.extend(of_resource.map(|span| read(service.clone(), span)));
    }
    spans.lock().unwrap_or_else(PoisonError::into_inner).append(&mut received);
}

fn read(service: String, span: proto::Span) -> Span {
    Span {
        service,
        kind: span.kind(),
        has_failed: span.status.is_some_and(|status| status.code() == proto::status::StatusCode::Error),
        name: span.name,
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        started_at: time(span.start_time_unix_nano),
        ended_at: time(span.end_time_unix_nano),
        attributes: attributes(span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        events: span.events.into_iter().map(|event| (event.name, time(event.time_unix_nano))).collect(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn time(nanos: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}
