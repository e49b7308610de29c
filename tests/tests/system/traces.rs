//! Traces as a collector gets them: one for each prompt path, and one with a link back for what comes later. The times in them are
//! those of the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use contracts::{OrderState, ReturnState};
use embedded::child::{Child, Signal, bound_to_parent};
use embedded::free_port;
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::PgPool;
use tempfile::TempDir;
use tests::collector::{Collector, Span, SpanKind, TOKEN};
use tests::services::Broker;
use tests::waiting::SOON;
use tests::{Api, Database, books, eventually, programs, shop};
use uuid::Uuid;

/// What the times of rows and of spans may differ by.
const APART: TimeDelta = TimeDelta::milliseconds(2);
/// With this seed the faults hit the first three calls of the gateway and not the next two.
const THREE_HITS: &str = "5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_an_order_is_traced_through_the_queue_in_postgres() -> Result<()> {
    Box::pin(play(None)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_an_order_is_traced_through_rabbitmq() -> Result<()> {
    Box::pin(play(Some(Broker::new().await?))).await
}

/// A running `standalone`, and the collector to which it exports: over HTTP, or with a broker over gRPC.
struct Traced {
    collector: Collector,
    database: Database,
    base: Api,
    api: Api,
    process: Child,
    system: &'static str,
    destination: &'static str,
    _folder: TempDir,
}

impl Traced {
    async fn start(broker: Option<&Broker>) -> Result<Self> {
        let (database, collector, folder) = (Database::new().await?, Collector::start().await?, tempfile::tempdir()?);
        let programs = tokio::task::spawn_blocking(programs::folder).await?;
        let port = free_port()?;
        let mut command = bound_to_parent(Signal::SIGKILL, programs.join("standalone"));
        command.env_clear().envs(programs::environment()).env("DATABASE_URL", &database.url);
        let (protocol, endpoint) =
            if broker.is_some() { ("grpc", &collector.grpc) } else { ("http/protobuf", &collector.http) };
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("{}={}", TOKEN.0, TOKEN.1.replace(' ', "%20")));
        command.env("OTEL_SERVICE_NAME", "shop").env("OTEL_BSP_SCHEDULE_DELAY", "100");
        if let Some(broker) = broker {
            command.env("RABBITMQ_URL", broker.transport().rabbitmq_url.context("a broker")?.expose_secret());
        }
        command.env("GATEWAY_FAULTS", "error=500").env("GATEWAY_FAULT_RATE", "0.5");
        command.env("GATEWAY_FAULT_SEED", THREE_HITS).env("REFUND_RETRY_SECONDS", "0.05");
        let gateway_port = free_port()?.to_string();
        command.env("PORT", port.to_string()).env("GATEWAY_PORT", &gateway_port);
        command.env("DATA_DIR", folder.path().join("data")).env("INVOICE_STORE_URL", folder.path().join("invoices"));
        command.stdout(Stdio::null());
        let process = Child::spawn("standalone", command)?;
        let base = Api::new(&format!("http://127.0.0.1:{port}"))?;
        eventually("it is ready", SOON, async || {
            Ok(base.get("/health/ready").await.is_ok_and(|answer| answer.status == 200).then_some(()))
        })
        .await?;
        let (system, destination) =
            if broker.is_some() { ("rabbitmq", "articurated.events") } else { ("postgresql", "inbox") };
        let api = Api::new(&format!("http://127.0.0.1:{port}/api/v1"))?;
        Ok(Self { collector, database, base, api, process, system, destination, _folder: folder })
    }

    /// The one span that fits, once it has arrived.
    async fn span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Result<Span> {
        let found = eventually(what, SOON, async || {
            let found: Vec<_> = self.collector.spans().into_iter().filter(&fits).collect();
            Ok((!found.is_empty()).then_some(found))
        })
        .await?;
        ensure!(found.len() == 1, "{what}: {found:#?}");
        found.into_iter().next().context("one")
    }

    /// The request that made this step of an entity.
    async fn request(&self, entity: Uuid, to_state: &str) -> Result<Span> {
        let trace_id: String =
            sqlx::query_scalar("select trace_id from command.state_transitions where entity_id = $1 and to_state = $2")
                .bind(entity)
                .bind(to_state)
                .fetch_one(&self.database.pool)
                .await?;
        let fits = |span: &Span| span.trace_id == trace_id && span.parent.is_empty();
        self.span(&format!("the request {to_state}"), fits).await
    }

    async fn sent(&self, event: Uuid, trace_id: &str) -> Result<Span> {
        let fits = |span: &Span| {
            span.kind == SpanKind::Producer
                && span.trace_id == trace_id
                && span.attribute("messaging.message.id") == event.to_string()
        };
        let span = self.span(&format!("{event} is sent in {trace_id}"), fits).await?;
        assert_eq!(span.name, format!("send {}", self.destination));
        self.is_messaging(&span, "send", self.destination);
        assert!(!span.has_failed);
        Ok(span)
    }

    /// The attempts at a job, oldest first.
    async fn attempts(&self, event: Uuid, queue: &str, count: usize) -> Result<Vec<Span>> {
        let name = format!("process {queue}");
        let mut found = eventually(&format!("{name} of {event}"), SOON, async || {
            let fits = |span: &Span| span.name == name && span.attribute("messaging.message.id") == event.to_string();
            let found: Vec<_> = self.collector.spans().into_iter().filter(fits).collect();
            Ok((found.len() >= count).then_some(found))
        })
        .await?;
        found.sort_by_key(|span| span.started_at);
        for span in &found {
            assert_eq!(span.kind, SpanKind::Consumer);
            self.is_messaging(span, "process", queue);
        }
        Ok(found)
    }

    fn is_messaging(&self, span: &Span, operation: &str, destination: &str) {
        for (name, value) in [
            ("messaging.system", self.system),
            ("messaging.destination.name", destination),
            ("messaging.operation.name", operation),
            ("messaging.operation.type", operation),
        ] {
            assert_eq!(span.attribute(name), value, "{name} of {span:#?}");
        }
    }
}

async fn play(broker: Option<Broker>) -> Result<()> {
    let traced = Traced::start(broker.as_ref()).await?;
    let pool = &traced.database.pool;
    let order = shop::order_in(&traced.api, OrderState::Delivered).await?;
    let requested = shop::request_return(&traced.api, &order, 0, 1).await?;
    let returned = shop::bring_return(&traced.api, requested, ReturnState::Completed).await?;
    books::settled(pool).await?;

    shipped(&traced, order.id).await?;
    refunded(&traced, returned.id).await?;
    projected(&traced).await?;
    times_agree(&traced, &[order.id, returned.id]).await?;
    replayed(&traced, order.id).await?;
    exemplars(&traced).await?;
    let probes: Vec<_> = traced.collector.spans().into_iter().filter(|span| span.name.contains("/health")).collect();
    assert!(probes.is_empty(), "{probes:#?}");
    traced.process.signal(Signal::SIGTERM);
    eventually("it has stopped", SOON, async || Ok(traced.process.exited().map(drop))).await
}

async fn event(pool: &PgPool, event_type: &str) -> Result<Uuid> {
    let found = sqlx::query_scalar("select event_id from messaging.outbox where event_type = $1").bind(event_type);
    found.fetch_one(pool).await.context(event_type.to_owned())
}

/// Everything that shipping causes is one trace, from the request to the e-mail with the invoice.
async fn shipped(traced: &Traced, order: Uuid) -> Result<()> {
    let request = traced.request(order, "SHIPPED").await?;
    assert_eq!((request.name.as_str(), request.kind), ("POST /api/v1/orders/{id}/ship", SpanKind::Server));
    assert_eq!((request.service.as_str(), request.has_failed), ("shop", false));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/orders/{id}/ship"),
        ("http.response.status_code", "200"),
        ("url.path", &format!("/api/v1/orders/{order}/ship")),
        ("url.scheme", "http"),
        ("network.protocol.version", "1.1"),
    ] {
        assert_eq!(request.attribute(name), value, "{name}");
    }
    let shipped = event(&traced.database.pool, "order.shipped").await?;
    let sent = traced.sent(shipped, &request.trace_id).await?;
    let jobs = traced.attempts(shipped, "invoices", 1).await?;
    let [invoice] = jobs.as_slice() else { panic!("{jobs:#?}") };
    let generated = event(&traced.database.pool, "invoice.generated").await?;
    let sent_again = traced.sent(generated, &request.trace_id).await?;
    let mails = traced.attempts(generated, "notifications", 1).await?;
    let [mail] = mails.as_slice() else { panic!("{mails:#?}") };
    for (child, parent) in [(&sent, &request), (invoice, &request), (&sent_again, invoice), (mail, invoice)] {
        assert_eq!((&child.trace_id, &child.parent), (&parent.trace_id, &parent.span_id), "{child:#?} of {parent:#?}");
        assert!(child.links.is_empty() && !child.has_failed, "{child:#?}");
    }
    Ok(())
}

/// The gateway fails three times. The first attempt belongs to the return's trace, the later ones have their own, with a link back.
async fn refunded(traced: &Traced, returned: Uuid) -> Result<()> {
    let request = traced.request(returned, "COMPLETED").await?;
    let initiated = event(&traced.database.pool, "refund.initiated").await?;
    let sent = traced.sent(initiated, &request.trace_id).await?;
    assert_eq!(sent.parent, request.span_id);
    let attempts = traced.attempts(initiated, "refunds", 4).await?;
    let (last, failed) = attempts.split_last().context("attempts")?;
    for (number, attempt) in (1..).zip(&attempts) {
        assert_eq!(attempt.attribute("attempt"), number.to_string());
        if number == 1 {
            assert_eq!((&attempt.trace_id, &attempt.parent), (&request.trace_id, &request.span_id));
            assert!(attempt.links.is_empty());
        } else {
            assert_ne!(attempt.trace_id, request.trace_id);
            assert_eq!(attempt.parent, "");
            assert_eq!(attempt.links, [(request.trace_id.clone(), request.span_id.clone())]);
        }
    }
    assert!(failed.iter().all(|attempt| attempt.has_failed && attempt.attribute("error.type") == "in_doubt"));
    assert!(!last.has_failed);
    let own: BTreeSet<_> = attempts.iter().map(|attempt| &attempt.trace_id).collect();
    assert_eq!(own.len(), attempts.len(), "each has a trace of its own");

    let fails = called(traced, &attempts[0], "POST /refund", 500).await?;
    assert!(fails.has_failed && fails.attribute("error.type") == "500");
    called(traced, &attempts[1], "GET /refund/{key}", 500).await?;
    called(traced, last, "GET /refund/{key}", 404).await?;
    let pays = called(traced, last, "POST /refund", 200).await?;
    assert!(!pays.has_failed);
    // What the successful attempt causes goes on in its trace.
    let processed = event(&traced.database.pool, "refund.processed").await?;
    assert_eq!(traced.sent(processed, &last.trace_id).await?.parent, last.span_id);
    Ok(())
}

/// The call of an attempt, which is the parent of the gateway's own span.
async fn called(traced: &Traced, attempt: &Span, name: &str, status: u16) -> Result<Span> {
    let status = status.to_string();
    let call = traced
        .span(&format!("{name} answers {status}"), |span| {
            span.kind == SpanKind::Client && span.name == name && span.parent == attempt.span_id
        })
        .await?;
    assert_eq!((&call.trace_id, call.attribute("http.response.status_code")), (&attempt.trace_id, status.as_str()));
    assert_eq!(call.attribute("server.address"), "127.0.0.1");
    assert!(call.attribute("url.full").starts_with("http://127.0.0.1:"), "{call:#?}");
    let served = traced.span("the gateway serves it", |span| span.parent == call.span_id).await?;
    assert_eq!(
        (served.kind, &served.trace_id, served.attribute("http.response.status_code")),
        (SpanKind::Server, &call.trace_id, status.as_str())
    );
    Ok(call)
}

/// The projector takes events together: its spans link to their traces.
async fn projected(traced: &Traced) -> Result<()> {
    let request = traced.span("an order is placed", |span| span.name == "POST /api/v1/orders").await?;
    let batch = traced
        .span("its event is projected", |span| {
            span.name == "process projections" && span.links.iter().any(|(trace_id, _)| *trace_id == request.trace_id)
        })
        .await?;
    assert_eq!((batch.kind, batch.parent.as_str()), (SpanKind::Consumer, ""));
    assert_eq!(batch.attribute("messaging.operation.type"), "process");
    let rows = traced.span("its rows are written", |span| span.parent == batch.span_id).await?;
    assert_eq!((rows.kind, rows.name.as_str()), (SpanKind::Client, "INSERT read models"));
    assert_eq!((rows.attribute("db.system.name"), rows.attribute("db.operation.name")), ("postgresql", "INSERT"));
    Ok(())
}

/// An operator's act has a trace of its own with a link to that of the event, and so has what the relay sends again.
async fn replayed(traced: &Traced, order: Uuid) -> Result<()> {
    let origin = traced.request(order, "SHIPPED").await?;
    let shipped = event(&traced.database.pool, "order.shipped").await?;
    let body = json!({ "selection": { "ids": [shipped] }, "reason": "to see", "dry_run": false });
    let replay = traced.api.call(reqwest::Method::POST, "/ops/replay").header("X-Actor", "anita").json(&body);
    replay.send().await?.expect(200);
    let back = [(origin.trace_id.clone(), origin.span_id.clone())];
    let act = traced.span("the act", |span| span.name == "POST /api/v1/ops/replay").await?;
    assert_eq!((act.parent.as_str(), act.links.as_slice()), ("", &back[..]));
    let sent = traced
        .span("it is sent again", |span| {
            span.kind == SpanKind::Producer
                && span.attribute("messaging.message.id") == shipped.to_string()
                && span.parent.is_empty()
        })
        .await?;
    assert_eq!(sent.links, back);
    assert_ne!(sent.trace_id, origin.trace_id);
    Ok(())
}

/// When an event and its job reached each stop.
#[derive(Debug, sqlx::FromRow)]
struct Hops {
    event_id: Uuid,
    aggregate_id: Uuid,
    queue: String,
    trace_id: String,
    occurred_at: DateTime<Utc>,
    published_at: DateTime<Utc>,
    received_at: DateTime<Utc>,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

/// The hops of rows are those of spans: published, received, started and finished of every event and job. The command's own time is taken
/// when its body has been read, and so lies in its request; it is near the start in most of them.
async fn times_agree(traced: &Traced, entities: &[Uuid]) -> Result<()> {
    let hops: Vec<Hops> = sqlx::query_as(
        "select job.event_id, outbox.aggregate_id, queue, substr(traceparent, 4, 32) as trace_id, occurred_at,
                confirmed_at as published_at, received_at, started_at, finished_at
         from messaging.inbox as job join messaging.outbox using (event_id)
         join messaging.relay_batches on positions @> array[position]
         order by occurred_at",
    )
    .fetch_all(&traced.database.pool)
    .await?;
    assert!(hops.len() >= 8, "{hops:#?}");
    let near = |what: &str, row: DateTime<Utc>, span: DateTime<Utc>, hop: &Hops| {
        assert!((row - span).abs() <= APART, "{what}: {row} in the row, {span} in the span of {hop:#?}");
    };
    let mut first_hops = BTreeMap::new();
    for hop in &hops {
        let sent = traced.sent(hop.event_id, &hop.trace_id).await?;
        let (name, id) = (format!("process {}", hop.queue), hop.event_id.to_string());
        let job = traced
            .span(&format!("{name} started at {}", hop.started_at), |span| {
                span.name == name
                    && span.attribute("messaging.message.id") == id
                    && (span.started_at - hop.started_at).abs() <= APART
            })
            .await?;
        let received = job.events.iter().find(|(name, _)| name == "received").context("received")?.1;
        near("published", hop.published_at, sent.ended_at, hop);
        near("received", hop.received_at, received, hop);
        near("finished", hop.finished_at, job.ended_at, hop);
        if entities.contains(&hop.aggregate_id) {
            let fits =
                |span: &Span| span.trace_id == hop.trace_id && span.kind == SpanKind::Server && span.parent.is_empty();
            let request = traced.span("the request", fits).await?;
            let micros = TimeDelta::microseconds(1);
            assert!(request.started_at - micros <= hop.occurred_at && hop.occurred_at <= request.ended_at, "{hop:#?}");
            let of_row = hop.published_at - hop.occurred_at;
            first_hops.insert(hop.event_id, (sent.ended_at - request.started_at - of_row).abs());
        }
    }
    let close = first_hops.values().filter(|apart| **apart <= APART).count();
    assert!(close * 2 > first_hops.len(), "{first_hops:#?}");
    Ok(())
}

/// `/metrics` names recorded traces, to those who can read them.
async fn exemplars(traced: &Traced) -> Result<()> {
    let call = traced.base.call(reqwest::Method::GET, "/metrics").header("Accept", "application/openmetrics-text");
    let open = call.send().await?.expect(200);
    assert!(open.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let open = open.text();
    assert!(open.ends_with("\n# EOF\n") && !open.contains("\n\n"), "{open}");
    let spans = traced.collector.spans();
    for (series, span) in [
        (
            "http_server_request_duration_seconds_bucket{service=\"standalone\",route=\"/api/v1/orders/{id}/ship\"",
            "POST /api/v1/orders/{id}/ship",
        ),
        ("inbox_job_duration_seconds_bucket{queue=\"invoices\"", "process invoices"),
        ("inbox_delivery_seconds_bucket{queue=\"invoices\"", "process invoices"),
    ] {
        let line =
            open.lines().find(|line| line.starts_with(series) && line.contains(" # {trace_id=\"")).context(series)?;
        let (_, exemplar) = line.split_once(" # {trace_id=\"").context("an exemplar")?;
        let trace_id = &exemplar[..32];
        assert!(spans.iter().any(|one| one.name == span && one.trace_id == trace_id), "{line}");
    }
    let plain = traced.base.get("/metrics").await?.expect(200);
    assert!(plain.header("content-type").starts_with("text/plain; version=0.0.4"));
    assert!(!plain.text().contains(" # {"));
    Ok(())
}
