//! The reads: consistency tokens, lists, cursors.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use contracts::OrderState;
use futures_util::future::try_join_all;
use reqwest::Method;
use runtime::Clock;
use serde_json::Value;
use tests::waiting::SOON;
use tests::{Api, System, books, shop};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_never_gets_an_older_version_than_its_token_asks_for() -> Result<()> {
    let system = System::start(|options| options.query.consistency_wait_ms = 300).await?;
    let pool = &system.database.pool;
    let order = shop::order_in(&system.api, OrderState::PendingPayment).await?.id;
    let path = format!("/orders/{order}");
    books::projected(pool, SOON).await?;
    system.api.read(&path, &system.token("order", order, 1).await?).await?.expect(200);

    let future = system.token("order", order, 9).await?;
    let of_none = system.token("order", Uuid::from_u128(1), 1).await?;
    let missing = format!("order:{}@1", Uuid::from_u128(1));
    for (path, token, have) in [
        (path.clone(), &future, format!("order:{order}@1")),
        (format!("{path}/history"), &future, format!("order:{order}@1")),
        (format!("{path}/invoice"), &future, format!("order:{order}@1")),
        ("/orders".to_owned(), &future, format!("order:{order}@1")),
        ("/orders".to_owned(), &of_none, missing.replace("@1", "@0")),
    ] {
        let asked = Instant::now();
        let answer = system.api.read(&path, token).await?;
        let waited = asked.elapsed().as_millis();
        let error = answer.refused(503, "READ_MODEL_BEHIND");
        let (said, _signature) = token.rsplit_once('.').context("a signature")?;
        assert_eq!(error.details["wanted"][0], said, "{path}");
        assert_eq!(error.details["have"][0], have, "{path}");
        assert!((300..5_000).contains(&waited), "{path}: {waited} ms");
        assert_eq!(answer.header("retry-after"), "1");
    }

    // The projector is paused. A query without a token gets what there is; one with a token gets its version or an error.
    sqlx::query("update messaging.queues set paused_at = now() where name = 'projections'").execute(pool).await?;
    let paid = shop::step(&system.api, order, "pay").await?.expect(200);
    system.api.read(&path, paid.token()).await?.refused(503, "READ_MODEL_BEHIND");
    let both = format!("{},{}", system.token("order", order, 1).await?, paid.token());
    system.api.read(&path, &both).await?.refused(503, "READ_MODEL_BEHIND");
    assert_eq!(system.api.get(&path).await?.expect(200).order().state, OrderState::PendingPayment);
    sqlx::query("update messaging.queues set paused_at = null").execute(pool).await?;
    tests::eventually("the read model has caught up", SOON, async || {
        let answer = system.api.read(&path, paid.token()).await?;
        Ok((answer.status == 200).then(|| assert_eq!(answer.order().state, OrderState::Paid)))
    })
    .await?;

    for bad in [
        "order",
        "order:x@1",
        "cow:01890a5d-ac96-774b-bcce-b302099a8057@1",
        &system.token("order", order, 0).await?,
        &format!("order:{order}@99999999999"),
        // Made up, and changed.
        &format!("order:{order}@1"),
        &format!("order:{order}@1.0123456789abcdef"),
        &paid.token().replace("@2", "@3"),
    ] {
        system.api.read(&path, bad).await?.refused(422, "VALIDATION_FAILED");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_clients_each_read_their_own_writes() -> Result<()> {
    let system = System::start(|_| ()).await?;
    try_join_all((0..40).map(|n| {
        let api = &system.api;
        async move {
            let mut body = shop::order();
            body["customer_id"] = format!("reader-{n}").into();
            let placed = api.post("/orders", &body).await?.expect(201);
            let id = placed.order().id;
            let mine = api.read(&format!("/orders?customer_id=reader-{n}"), placed.token()).await?.expect(200).json();
            assert_eq!(mine["data"][0]["id"], id.to_string());
            for (step, version) in [("pay", 2), ("processing", 3), ("ship", 4), ("deliver", 5)] {
                let answer = shop::step(api, id, step).await?.expect(200);
                let (path, history) = (format!("/orders/{id}"), format!("/orders/{id}/history"));
                let (order, history) =
                    tokio::try_join!(api.read(&path, answer.token()), api.read(&history, answer.token()))?;
                assert_eq!(order.expect(200).order().version, version);
                assert_eq!(history.expect(200).history().len(), usize::try_from(version)?);
            }
            anyhow::Ok(())
        }
    }))
    .await?;
    system.finish().await
}

/// The ids of one page, and the cursor of the next page.
async fn page(api: &Api, query: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>)> {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let page = api.get(&format!("{query}{cursor}")).await?.expect(200).json();
    let ids = page["data"].as_array().context("a list")?.iter().map(|one| text(&one["id"])).collect();
    let next = page["next_cursor"].as_str().map(str::to_owned);
    assert_eq!(page["has_more"], next.is_some());
    Ok((ids, next))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// All pages, one after the other.
async fn walk(api: &Api, query: &str, limit: usize) -> Result<Vec<String>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    let query = format!("{query}{}limit={limit}", if query.contains('?') { '&' } else { '?' });
    loop {
        let (ids, next) = page(api, &query, cursor.as_deref()).await?;
        assert!(ids.len() <= limit && (next.is_none() || ids.len() == limit), "every page but the last is full");
        all.extend(ids);
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(all),
        }
    }
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_has_every_order_once_even_when_all_were_placed_in_one_instant() -> Result<()> {
    let clock = Clock::fixed(utc("2026-01-15T10:00:00Z"));
    let system = System::start(|options| options.clock = clock.clone()).await?;
    let api = &system.api;
    let mut placed = BTreeSet::new();
    for _ in 0..25 {
        placed.insert(shop::place(api, &shop::order()).await?.id.to_string());
    }
    clock.set(utc("2026-01-15T10:00:01Z"));
    for _ in 0..5 {
        placed.insert(shop::place(api, &shop::order()).await?.id.to_string());
    }
    tests::eventually("the list has all orders", SOON, async || {
        Ok((page(api, "/orders?limit=100", None).await?.0.len() == placed.len()).then_some(()))
    })
    .await?;
    let whole = walk(api, "/orders", 100).await?;
    for limit in [1, 2, 7, 24, 25, 29, 30, 31] {
        let walked = walk(api, "/orders", limit).await?;
        assert_eq!(walked, whole, "pages of {limit}");
    }
    assert_eq!(whole.iter().cloned().collect::<BTreeSet<_>>(), placed);
    assert!(whole.is_sorted_by(|a, b| a > b), "newest first: the ids grow with time");

    // An order that is placed between two pages is newer than the rest of the list, so it does not appear there.
    let (first, cursor) = page(api, "/orders?limit=10", None).await?;
    clock.set(utc("2026-01-15T10:00:02Z"));
    let new = api.post("/orders", &shop::order()).await?.expect(201);
    api.read(&format!("/orders/{}", new.order().id), new.token()).await?.expect(200);
    let (second, _) = page(api, "/orders?limit=10", cursor.as_deref()).await?;
    assert_eq!([first, second].concat(), whole[..20]);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_work_alone_and_combined() -> Result<()> {
    // 18:30 UTC is midnight in India.
    let clock = Clock::fixed(utc("2026-01-15T18:29:59Z"));
    let system = System::start(|options| options.clock = clock.clone()).await?;
    let api = &system.api;
    let mut ids = Vec::new();
    for (n, (at, customer, state)) in [
        ("2026-01-15T18:29:59Z", "asha", OrderState::Paid),
        ("2026-01-15T18:30:00Z", "asha", OrderState::Delivered),
        ("2026-01-16T18:29:59.999999Z", "bina", OrderState::Paid),
        ("2026-01-16T18:30:00Z", "asha", OrderState::Cancelled),
    ]
    .into_iter()
    .enumerate()
    {
        clock.set(utc(at));
        let mut body = shop::order();
        body["customer_id"] = customer.into();
        body["order_number"] = format!("AC-F-{n}").into();
        let order = shop::bring(api, shop::place(api, &body).await?, state).await?;
        api.read(&format!("/orders/{}", order.id), &system.token("order", order.id, order.version).await?)
            .await?
            .expect(200);
        ids.push(order.id.to_string());
    }
    for (query, wanted) in [
        ("", vec![3, 2, 1, 0]),
        ("state=PAID", vec![2, 0]),
        ("customer_id=asha", vec![3, 1, 0]),
        ("customer_id=asha&state=PAID", vec![0]),
        ("order_number=AC-F-2", vec![2]),
        ("order_number=ac-f-2", vec![]),
        ("created_from=2026-01-16", vec![3, 2, 1]),
        ("created_to=2026-01-15", vec![0]),
        ("created_from=2026-01-16&created_to=2026-01-16", vec![2, 1]),
        ("created_from=2026-01-15T18:30:00Z&created_to=2026-01-16T18:30:00Z", vec![2, 1]),
        ("created_from=2026-01-16T00:00:00%2B05:30", vec![3, 2, 1]),
        ("created_from=2026-01-16&created_to=2026-01-16&state=PAID&customer_id=bina", vec![2]),
        ("state=SHIPPED", vec![]),
        ("customer_id=a%25", vec![]),
    ] {
        let wanted: Vec<_> = wanted.into_iter().map(|n: usize| ids[n].clone()).collect();
        for limit in [1, 100] {
            assert_eq!(walk(api, &format!("/orders?{query}"), limit).await?, wanted, "{query}");
        }
    }

    let delivered = api.get(&format!("/orders/{}", ids[1])).await?.expect(200).order();
    let mut returns = Vec::new();
    for _ in 0..3 {
        let requested = api.post("/returns", &shop::return_of(&delivered, 0, 1)).await?.expect(201);
        api.read(&format!("/returns/{}", requested.returned().id), requested.token()).await?.expect(200);
        returns.push(requested.returned().id);
    }
    let approved = shop::return_step(api, returns[1], "approve").await?.expect(200);
    api.read(&format!("/returns/{}", returns[1]), approved.token()).await?.expect(200);
    for (query, wanted) in [
        ("", vec![2, 1, 0]),
        ("state=REQUESTED", vec![2, 0]),
        ("state=APPROVED&order_number=AC-F-1", vec![1]),
        (&format!("order_id={}", delivered.id), vec![2, 1, 0]),
        (&format!("order_id={}", ids[0]), vec![]),
        ("customer_id=asha&created_from=2026-01-17", vec![2, 1, 0]),
    ] {
        let wanted: Vec<_> = wanted.into_iter().map(|n: usize| returns[n].to_string()).collect();
        assert_eq!(walk(api, &format!("/returns?{query}"), 2).await?, wanted, "{query}");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_query_parameter_is_refused_with_its_name() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let (long_id, long_number) = ("x".repeat(65), "x".repeat(33));
    let common = [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=99999999999999999999",
        "state=EATEN",
        "state=paid",
        "cursor=garbage",
        "cursor=",
        "created_from=yesterday",
        "created_to=2026-02-30",
        "created_from=2026-02-02&created_to=2026-01-01",
        "customer_id=",
        &format!("customer_id={long_id}"),
        &format!("order_number={long_number}"),
        "customer_id=%00",
        "colour=blue",
        "limit=0&state=EATEN&cursor=garbage",
    ];
    let mut refusals = Vec::new();
    for (path, queries) in [("/orders", &common[..]), ("/returns", &common), ("/returns", &["order_id=seven"])] {
        for query in queries {
            let error = system.api.get(&format!("{path}?{query}")).await?.refused(422, "VALIDATION_FAILED");
            let fields = error.details["fields"].as_array().context("the fields")?;
            let fields: Vec<_> =
                fields.iter().map(|one| format!("{} {}", text(&one["field"]), text(&one["message"]))).collect();
            refusals.push(format!("{path}?{query}: {}", fields.join("; ")));
        }
        system.api.get(&format!("{path}?limit=1")).await?.expect(200);
        system.api.get(&format!("{path}?limit=100")).await?.expect(200);
    }
    insta::assert_snapshot!("refusals", refusals.join("\n"));
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_the_client_has_is_not_sent_again() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let placed = system.api.post("/orders", &shop::order()).await?.expect(201);
    let path = format!("/orders/{}", placed.order().id);
    let seen = system.api.read(&path, placed.token()).await?.expect(200);
    let again = async |tag: &str| system.api.call(Method::GET, &path).header("If-None-Match", tag).send().await;
    assert_eq!(seen.header("etag"), "\"1\"");
    let unchanged = again("\"1\"").await?.expect(304);
    assert!(unchanged.body.is_empty());
    let paid = shop::step(&system.api, placed.order().id, "pay").await?.expect(200);
    system.api.read(&path, paid.token()).await?.expect(200);
    assert_eq!(again("\"1\"").await?.expect(200).header("etag"), "\"2\"");

    // What has no version has a tag of what is sent.
    let token = paid.token();
    for read in
        ["/orders?limit=1", &format!("{path}/history"), "/reports/orders-by-state", "/reports/sales/daily?format=csv"]
    {
        let seen = system.api.read(read, token).await?.expect(200);
        let again =
            system.api.call(Method::GET, read).header("If-None-Match", seen.header("etag")).send().await?.expect(304);
        assert_eq!((again.body.len(), again.header("etag")), (0, seen.header("etag")), "{read}");
        let other = system.api.call(Method::GET, read).header("If-None-Match", "\"other\"").send().await?.expect(200);
        assert_eq!(other.body, seen.body, "{read}");
    }
    let before = system.api.get("/orders?limit=1").await?.expect(200);
    let shipped = shop::step(&system.api, placed.order().id, "processing").await?.expect(200);
    let after = system.api.read("/orders?limit=1", shipped.token()).await?.expect(200);
    assert_ne!(before.header("etag"), after.header("etag"));
    system.finish().await
}

/// A page ends where its documents would be longer than 4 MiB together, and the walk finds every order all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_long_orders_is_shorter_and_the_walk_complete() -> Result<()> {
    let system = System::start(|_| ()).await?;
    let api = &system.api;
    let mut long = shop::order_of(&vec![(1, 100); 500]);
    for item in long["items"].as_array_mut().into_iter().flatten() {
        item["title"] = "Blue pottery ".repeat(19).into();
    }
    for _ in 0..20 {
        shop::place(api, &long).await?;
    }
    books::projected(&system.database.pool, SOON).await?;
    let (mut seen, mut path, mut pages) = (0, "/orders?limit=100".to_owned(), 0);
    loop {
        let answer = api.get(&path).await?.expect(200);
        assert!(answer.body.len() < 5 * 1024 * 1024, "{} bytes", answer.body.len());
        let page = answer.json();
        seen += page["data"].as_array().map_or(0, Vec::len);
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/orders?limit=100&cursor={cursor}");
    }
    assert!(pages > 1, "all orders fit one page");
    assert_eq!(seen, 20);
    system.finish().await
}
