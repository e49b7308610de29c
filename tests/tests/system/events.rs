//! The event feed: page by page, and live.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use contracts::{OrderState, ReturnState};
use futures_util::future::try_join_all;
use reqwest::Client;
use serde_json::Value;
use tests::waiting::SOON;
use tests::{Api, System, books, eventually, shop};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// All events, page by page.
async fn walk(api: &Api, query: &str) -> Result<(Vec<Value>, String)> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let from = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let page = api.get(&format!("/events?{query}{from}")).await?.expect(200).json();
        all.extend(page["data"].as_array().context("a list")?.iter().cloned());
        page["next_cursor"].as_str().context("a cursor")?.clone_into(&mut cursor);
        if page["has_more"] == false {
            return Ok((all, cursor));
        }
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_read_once_and_in_order() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let order = shop::order_in(api, OrderState::Delivered).await?;
    let returned = shop::request_return(api, &order, 0, 1).await?;
    shop::bring_return(api, returned.clone(), ReturnState::Approved).await?;
    shop::sell(api, 20).await?;
    // Read models that are behind leave out nothing of an order.
    let mut behind = pool.begin().await?;
    sqlx::raw_sql("lock table read.returns in exclusive mode").execute(&mut *behind).await?;
    let last = shop::request_return(api, &order, 1, 1).await?;

    let all: i64 = sqlx::query_scalar("select count(*) from messaging.outbox").fetch_one(pool).await?;
    let (events, cursor) = eventually("the feed has everything", SOON, async || {
        let walked = walk(api, "limit=7").await?;
        Ok((i64::try_from(walked.0.len())? >= all).then_some(walked))
    })
    .await?;
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!((i64::try_from(ids.len())?, events.len()), (all, ids.len()), "none twice");
    let of_order = walk(api, &format!("order_id={}", order.id)).await?.0;
    assert_eq!(
        types(&of_order),
        [
            "order.created",
            "order.paid",
            "order.processing",
            "order.shipped",
            "order.delivered",
            "return.requested",
            "return.approved",
            "return.requested"
        ]
    );
    assert_eq!(of_order[7]["data"]["entity_id"], last.id.to_string());
    behind.rollback().await?;
    books::projected(pool, SOON).await?;
    assert_eq!(of_order[5]["data"]["entity_id"], returned.id.to_string());
    let only = walk(api, "types=order.shipped,return.approved&limit=3").await?.0;
    assert_eq!(only.len(), 22);

    // What comes later comes after the cursor.
    let later = shop::place(api, &shop::order()).await?;
    let next = eventually("the next event", SOON, async || {
        let page = api.get(&format!("/events?cursor={cursor}")).await?.expect(200).json();
        Ok(page["data"][0].is_object().then_some(page))
    })
    .await?;
    assert_eq!(next["data"][0]["data"]["entity_id"], later.id.to_string());
    for wrong in ["types=order.eaten", "cursor=x", "limit=501", "order_id=7", "colour=red", "types=snapshot.taken"] {
        api.get(&format!("/events?{wrong}")).await?.refused(422, "VALIDATION_FAILED");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_stops_before_what_an_open_transaction_may_add() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let (api, pool) = (&system.api, &system.database.pool);
    let first = shop::place(api, &shop::order()).await?;
    let cursor = eventually("the first event", SOON, async || {
        let (events, cursor) = walk(api, "").await?;
        Ok((events.len() == 1).then_some(cursor))
    })
    .await?;
    // It draws a position, and does not commit.
    let mut open = pool.begin().await?;
    sqlx::query(
        "select messaging.append_events('order', array[messaging.new_id()], array[$1::uuid], array[99], array['order.updated'],
                                        array['{}'::jsonb], array[null::text], array[now()])",
    )
    .bind(first.id)
    .execute(&mut *open)
    .await?;
    let second = shop::place(api, &shop::order()).await?;
    books::projected(pool, SOON).await?;
    tokio::time::timeout(Duration::from_millis(700), async {
        loop {
            let page = api.get(&format!("/events?cursor={cursor}")).await.expect("an answer").expect(200).json();
            assert_eq!(page["data"], Value::Array(Vec::new()), "the open transaction may still add an event before it");
        }
    })
    .await
    .expect_err("it stays so");
    open.rollback().await?;
    eventually("the second event", SOON, async || {
        let page = api.get(&format!("/events?cursor={cursor}")).await?.expect(200).json();
        Ok((page["data"][0]["data"]["entity_id"] == second.id.to_string()).then_some(()))
    })
    .await?;
    system.finish().await
}

/// A stream of server-sent events: id, type, and data.
fn listen(base: &str, query: &str, last: Option<&str>) -> UnboundedReceiver<(String, String, Value)> {
    let (sender, receiver) = unbounded_channel();
    let mut request = Client::new().get(format!("{base}/events?{query}")).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    tokio::spawn(async move {
        let mut answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut text = String::new();
        while let Ok(Some(bytes)) = answer.chunk().await {
            text.push_str(&String::from_utf8_lossy(&bytes));
            while let Some(end) = text.find("\n\n") {
                let event: String = text.drain(..end + 2).collect();
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
                };
                let (Some(id), Some(kind), Some(data)) = (field("id:"), field("event:"), field("data:")) else {
                    continue;
                };
                if sender.send((id, kind, serde_json::from_str(&data).expect("JSON"))).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_as_they_happen_and_go_on_after_a_reconnect() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    let base = format!("{}/api/v1", system.base_url());
    let mut all = listen(&base, "", None);
    let mut shipped = listen(&base, "types=order.shipped", None);
    // Both listen once the first event has come.
    let first = eventually("the stream has started", SOON, async || {
        shop::place(api, &shop::order()).await?;
        Ok(all.try_recv().ok())
    })
    .await?;
    let order = shop::order_in(api, OrderState::Shipped).await?;
    let mut of_order = Vec::new();
    while of_order.len() < 4 {
        let event = tokio::time::timeout(SOON, all.recv()).await?.context("the stream goes on")?;
        if event.2["data"]["entity_id"] == order.id.to_string() {
            of_order.push(event);
        }
    }
    let kinds: Vec<_> = of_order.iter().map(|event| event.1.as_str()).collect();
    assert_eq!(kinds, ["order.created", "order.paid", "order.processing", "order.shipped"]);
    let only = tokio::time::timeout(SOON, shipped.recv()).await?.context("the stream goes on")?;
    assert_eq!((only.1.as_str(), &only.2), ("order.shipped", &of_order[3].2));

    // A tail that lost its connections goes on where it was.
    let mut made = BTreeSet::new();
    for _ in 0..3 {
        let ended: i64 = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where datname = current_database() and application_name like '%query events%'",
        )
        .fetch_one(&system.database.pool)
        .await?;
        assert!(ended > 0);
        for _ in 0..3 {
            made.insert(shop::place(api, &shop::order()).await?.id.to_string());
        }
        while !made.is_empty() {
            let event = tokio::time::timeout(SOON, all.recv()).await?.context("the stream goes on")?;
            made.remove(event.2["data"]["entity_id"].as_str().unwrap_or_default());
        }
    }

    // From the first event on, everything comes once more; from the last one, nothing.
    let mut again = listen(&base, "", Some(&first.0));
    let mut seen = Vec::new();
    while seen.last() != Some(&of_order[3].0) {
        seen.push(tokio::time::timeout(SOON, again.recv()).await?.context("the stream goes on")?.0);
    }
    assert!(!seen.contains(&first.0) && seen.contains(&of_order[0].0));
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len());

    // Many listeners, and each gets each event.
    let mut many: Vec<_> = (0..50).map(|_| listen(&base, "types=order.cancelled", Some(&of_order[3].0))).collect();
    let cancelled = shop::order_in(api, OrderState::Cancelled).await?;
    let got = many.iter_mut().map(|one| async {
        let event = tokio::time::timeout(SOON, one.recv()).await?.context("the stream goes on")?;
        anyhow::Ok(event.2["data"]["entity_id"] == cancelled.id.to_string())
    });
    assert!(try_join_all(got).await?.into_iter().all(|got| got));
    system.finish().await
}
