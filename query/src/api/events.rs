//! `GET /events`: page by page, or as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{EventDocument, EventType};
use futures_util::Stream;
use runtime::http::accept;
use runtime::{ApiError, ErrorBody};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::parameters::Parameters;
use super::{Api, documents};
use crate::feed::{Feed, Shown, Wanted};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 500;
/// A comment that keeps proxies from closing a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Milliseconds after which a client reconnects.
const RECONNECT: Duration = Duration::from_secs(2);
/// First byte of every cursor.
const CURSOR: u8 = 1;

/// A page of events.
#[derive(Debug, Deserialize, ToSchema)]
pub struct EventPage {
    /// Oldest first. May be empty although there are more: with a filter, a page ends after a number of events that it has looked at.
    pub data: Vec<EventDocument>,
    /// Send it as `cursor` to get what comes next, also when there is nothing yet.
    pub next_cursor: String,
    /// Whether the next page can be asked for at once.
    pub has_more: bool,
}

/// The query parameters of the feed.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParams {
    /// Only these types, separated by commas.
    #[param(style = Form, explode = false, schema_with = event_types)]
    types: Option<String>,
    /// Only events of this order, and of its returns, refunds, invoices and credit notes.
    order_id: Option<Uuid>,
    /// `next_cursor` of the page before, or the id of a server-sent event. Without it the feed begins with the oldest event that is kept.
    cursor: Option<String>,
    /// Of a page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<i64>,
}

fn event_types() -> Schema {
    let known = EventType::news().map(EventType::as_str);
    let one = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(known));
    ArrayBuilder::new().items(one).min_items(Some(1)).into()
}

/// Events
///
/// What has happened to orders, returns, refunds, invoices and credit notes, in the order of the log; none is missed and none comes twice.
/// It ends before events that an open transaction may still precede. With `Accept: text/event-stream` the answer does not end: events
/// come as they happen, each with its cursor as `id`, so that a client that reconnects with `Last-Event-ID` goes on where it was.
#[utoipa::path(
    get,
    path = "/events",
    tag = "Events",
    params(
        EventParams,
        ("last-event-id" = Option<String>, Header, description = "Of a stream: the same as `cursor`, and goes before it."),
    ),
    responses(
        (status = 200, description = "A page, or a stream.", content(
            (EventPage = "application/json"),
            (String = "text/event-stream", example = "id: AQAAAAAAAAAH\nevent: order.paid\ndata: {\"id\":\"0199…\",\"type\":\"order.paid\",\"timestamp\":\"…\",\"consistency_token\":\"…\",\"data\":{}}\n\n"),
        )),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`SERVICE_UNAVAILABLE`, `TOO_MANY_LISTENERS`", body = ErrorBody),
    )
)]
pub(super) async fn list_events(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let streams = accept::prefers(&headers, "text/event-stream", "application/json");
    let Request { wanted, cursor, limit } = Request::parse(&uri, &headers, streams)?;
    let live = match streams.then(|| api.feed.listen()) {
        Some(None) => return Err(too_many_listeners()),
        Some(live) => live,
        None => None,
    };
    let server = api.feed.server();
    let settled = api.feed.settled().await.ok_or_else(|| ApiError::unavailable("the end of the log is not known"))?;
    let after = match (cursor, wanted.order_id) {
        (Some(after), _) => after,
        // An order has no event before its own id, which says when it was placed.
        (None, Some(order_id)) => api.feed.before(order_id).await?.unwrap_or(settled),
        (None, None) if streams => settled,
        (None, None) => 0,
    };
    if let Some(live) = live {
        let (feed, shutdown) = (api.feed.clone(), api.shutdown.clone());
        let stream = Streaming { feed, wanted, live, server, shutdown, after, settled, ready: VecDeque::new() };
        let sse = Sse::new(stream.events()).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("still here"));
        let headers = [(header::CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")];
        return Ok((headers, sse).into_response());
    }
    let page = api.feed.page(&wanted, after, settled, limit).await?;
    let texts: Vec<_> = page.events.iter().map(|event| event.text.as_str()).collect();
    let body = format!(
        "{{\"data\":[{}],\"next_cursor\":\"{}\",\"has_more\":{}}}",
        texts.join(","),
        encode(page.until),
        page.until < settled
    );
    Ok(documents::json(body).into_response())
}

fn too_many_listeners() -> ApiError {
    let message = "too many clients listen already; read /events page by page, or try again later";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "TOO_MANY_LISTENERS", message)
}

/// What the client asks for.
struct Request {
    wanted: Wanted,
    cursor: Option<i64>,
    limit: i64,
}

impl Request {
    fn parse(uri: &Uri, headers: &HeaderMap, streams: bool) -> Result<Self, ApiError> {
        let known = EventParams::into_params(|| Some(ParameterIn::Query)).into_iter().map(|parameter| parameter.name);
        let mut parameters = Parameters::read(uri, &known.collect::<Vec<_>>());
        let names: Vec<_> = EventType::news().map(EventType::as_str).collect();
        let types = parameters.take("types", &format!("must be one or several of {}", names.join(", ")), |text| {
            let wanted: Vec<_> = text.split(',').map(|one| one.trim().to_owned()).collect();
            wanted.iter().all(|one| names.contains(&one.as_str())).then_some(wanted)
        });
        let order_id = parameters.take("order_id", "must be a UUID", |text| Uuid::try_parse(text).ok());
        let expected = "must be the next_cursor of another page, or the id of a server-sent event";
        let mut cursor = parameters.take("cursor", expected, decode);
        if let Some(last) = headers.get("last-event-id").filter(|_| streams) {
            match last.to_str().ok().and_then(decode) {
                Some(last) => cursor = Some(last),
                None => parameters.reject("Last-Event-ID", expected),
            }
        }
        let limit = parameters.take("limit", &format!("must be a whole number from 1 to {MAX_LIMIT}"), |text| {
            text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))
        });
        parameters.finish()?;
        let wanted = Wanted { types, order_id };
        Ok(Self { wanted, cursor, limit: limit.unwrap_or(DEFAULT_LIMIT) })
    }
}

fn encode(position: i64) -> String {
    let mut bytes = vec![CURSOR];
    bytes.extend(position.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<i64> {
    let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (version, position) = bytes.split_first()?;
    let position = i64::from_be_bytes(position.try_into().ok()?);
    (*version == CURSOR && position >= 0).then_some(position)
}

/// A stream: what was before it began, from the database, and then what comes.
struct Streaming {
    feed: Arc<Feed>,
    wanted: Wanted,
    live: Receiver<Arc<Shown>>,
    server: watch::Receiver<String>,
    shutdown: CancellationToken,
    /// Everything up to here was sent.
    after: i64,
    /// Up to here it reads from the database.
    settled: i64,
    ready: VecDeque<Event>,
}

impl Streaming {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        let first = Event::default().retry(RECONNECT).comment("events follow");
        futures_util::stream::unfold((self, Some(first)), |(mut stream, first)| async move {
            let event = match first {
                Some(first) => first,
                None => stream.next().await?,
            };
            Some((Ok(event), (stream, None)))
        })
    }

    /// The next event; `None` ends the stream, and the client reconnects.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.after < self.settled {
                self.read().await?;
                continue;
            }
            let received = tokio::select! {
                () = self.shutdown.cancelled() => return None,
                _another = self.server.changed() => return None,
                received = self.live.recv() => received,
            };
            match received {
                Ok(shown) if shown.position > self.after => {
                    self.after = shown.position;
                    self.settled = self.settled.max(shown.position);
                    if self.wanted.has(&shown) {
                        self.ready.push_back(event_of(&shown));
                    }
                }
                Ok(_known) => {}
                // Too slow: it reads the rest from the database.
                Err(RecvError::Lagged(_)) => self.settled = self.feed.settled().await?,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn read(&mut self) -> Option<()> {
        let page = self.feed.page(&self.wanted, self.after, self.settled, DEFAULT_LIMIT).await;
        let page = page.inspect_err(|error| tracing::warn!(%error, "a stream of events ends")).ok()?;
        if self.server.has_changed().unwrap_or(true) {
            return None;
        }
        self.ready.extend(page.events.iter().map(event_of));
        self.after = page.until;
        Some(())
    }
}

fn event_of(shown: &Shown) -> Event {
    Event::default().id(encode(shown.position)).event(&shown.event_type).data(&shown.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_a_round_trip_and_garbage_is_refused() {
        for position in [0, 1, i64::MAX] {
            assert_eq!(decode(&encode(position)), Some(position));
        }
        for text in ["", "AQ", "garbage", &encode(-1), &encode(1).replacen('A', "B", 1), &format!("{}A", encode(1))] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
