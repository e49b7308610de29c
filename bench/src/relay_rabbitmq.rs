//! The relay to quorum queues of RabbitMQ against a bare client with the same messages in memory.
//!
//! The limit keeps the order as the relay must: a message waits for the confirms of those that it must not overtake. A client
//! that does not wait is faster; its figure is shown beside the limit.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use contracts::{Envelope, EventType, Headers, Queue};
use embedded::rabbitmq::{Options, PrivateNode};
use messaging::TransportConfig;
use serde_json::json;
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use crate::Plan;
use crate::backlog::{Backlog, Course};
use crate::raw_amqp::{Message, Order, Raw};
use crate::report::{Figure, Limit, Row};
use crate::system::{Database, System, between_limits};

const EVENTS: u64 = 60_000;
/// Messages in flight: those of 1,000 events, the default of `RELAY_BATCH`.
const WINDOW: usize = 1_000;
const AIM: f64 = 0.9;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let options = Options { fresh: true, ..Options::new(system.folder("rabbitmq")) };
    let node = PrivateNode::start(options).await.context("cannot start a private RabbitMQ")?;
    let rows = on(&node, system, plan).await;
    node.stop().await;
    rows
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn on(node: &PrivateNode, system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let backlog = Backlog::new(system, plan.share(EVENTS)).await?;
    let database = system.database("ours").await?;
    backlog.fill(&database).await?;
    let messages = messages(&database).await?;
    ensure!(messages.len() as u64 == backlog.messages(), "{} messages", messages.len());
    let bytes: usize = messages.iter().map(Message::len).sum();
    let bare = async |order| {
        let raw = Raw::connect(&node.url()).await?;
        let rate = raw.publish(&messages, WINDOW, order).await?;
        raw.close().await?;
        anyhow::Ok(rate)
    };
    let limit = async || bare(Order::Kept).await;
    let ours = async || drain(node, system, &database, &backlog).await;
    let (limits, course) = between_limits(limit, ours).await?;
    let unordered = bare(Order::Lost).await?;
    system.drop(database).await?;
    let per_event = backlog.messages() as f64 / backlog.events as f64;
    let details = json!({
        "messages": backlog.messages(), "mean_bytes": bytes / messages.len(), "events_per_second": course.per_second()?,
        "course": course.json(),
    });
    let limit = Limit::new(format!("bare client, {WINDOW} at a time"), limits, AIM);
    let what = "relay, RabbitMQ (messages)".to_owned();
    let beside = Figure::new("messages_per_second", unordered);
    Ok(vec![
        Row::ratio(what, course.per_second()? * per_event, limit, details),
        Row::figures(format!("bare client, {WINDOW} unconfirmed, order not kept"), "/s", vec![beside], json!({})),
    ])
}

async fn drain(node: &PrivateNode, system: &System, database: &Database, backlog: &Backlog) -> Result<Course> {
    let transport = TransportConfig { rabbitmq_url: Some(node.url().into()) };
    let course = backlog.drain(system, database, transport).await?;
    let raw = Raw::connect(&node.url()).await?;
    for queue in Queue::JOBS {
        in_order(&raw.take(queue, backlog.messages_of(queue)).await?)?;
    }
    raw.close().await?;
    Ok(course)
}

/// Each order's events have arrived once each and in their order.
fn in_order(events: &[Envelope]) -> Result<()> {
    let mut versions: HashMap<Uuid, i32> = HashMap::new();
    for event in events {
        let version = versions.entry(event.aggregate_id).or_default();
        *version += 1;
        ensure!(event.aggregate_version == *version, "{} is out of order", event.event_id);
    }
    Ok(())
}

/// The messages that the relay makes from the outbox.
async fn messages(database: &Database) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    for row in sqlx::query("select * from messaging.events order by position").fetch_all(&database.pool).await? {
        let event = envelope(&row)?;
        let event_type: EventType = event.event_type.parse()?;
        for queue in Queue::JOBS.into_iter().filter(|queue| queue.wants(event_type)) {
            messages.push(Message::new(queue, &event)?);
        }
    }
    Ok(messages)
}

fn envelope(row: &PgRow) -> Result<Envelope> {
    Ok(Envelope {
        event_id: row.try_get("event_id")?,
        event_type: row.try_get("event_type")?,
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        aggregate_version: row.try_get("aggregate_version")?,
        occurred_at: row.try_get("occurred_at")?,
        headers: row.try_get::<Json<Headers>, _>("headers")?.0,
        payload: row.try_get::<Json<Box<RawValue>>, _>("payload")?.0,
    })
}
