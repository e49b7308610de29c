//! What every page has.

use anyhow::Result;
use chrono::{DateTime, Utc};
use contracts::OrderState;
use operations::figures::roll_up_minute;
use standalone::Part;
use tests::{System, books, shop};
use uuid::Uuid;

use super::Browser;
use crate::operations::execute;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_private_runs_nothing_foreign_and_fits_the_outline() -> Result<()> {
    let system = System::start(|options| options.console.console_name = "Staging <1>".to_owned()).await?;
    let order = shop::order_in(&system.api, OrderState::PendingPayment).await?;
    let event: Uuid =
        sqlx::query_scalar("select event_id from messaging.outbox").fetch_one(&system.database.pool).await?;
    let mut browser = Browser::of(&system)?;
    let paths = [
        "/console".to_owned(),
        "/console/stuck".to_owned(),
        "/console/stuck?older_than_seconds=0".to_owned(),
        "/console/jobs?status=ready".to_owned(),
        "/console/jobs?status=done&since=2h&event_type=order.created".to_owned(),
        "/console/bulk".to_owned(),
        "/console/bulk/new?act=replay&event_type=order.created".to_owned(),
        "/console/bulk/new?act=retry&queue=refunds&error=503&since=2h".to_owned(),
        "/console/processes".to_owned(),
        "/console?span=day&queue=refunds".to_owned(),
        "/console/schedules".to_owned(),
        "/console/webhooks".to_owned(),
        "/console/audit".to_owned(),
        "/console/keys".to_owned(),
        "/console/log".to_owned(),
        "/console/find?q=x%22%3E%3Cscript%3E".to_owned(),
        format!("/console/events/{event}"),
        format!("/console/events/{}", order.id),
        format!("/console/orders/{}", order.order_number),
    ];
    for path in &paths {
        let response = browser.request(reqwest::Method::GET, path).send().await?;
        let headers = response.headers().clone();
        assert_eq!(headers["cache-control"], "private, no-store", "{path}");
        let policy = headers["content-security-policy"].to_str()?;
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        let page = browser.open(path).await?.expect(200);
        page.has("<html lang=\"en\">")
            .has("Staging &lt;1&gt;")
            .has("<main id=\"main\"><h1>")
            .lacks("<script>")
            .lacks(" style=");
        assert_eq!(page.text.matches("<h1>").count(), 1, "{path}");
        let ids: Vec<&str> = page.text.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "{path}: {ids:?}");
    }
    for (path, status) in [
        ("/console/events/x", 404),
        ("/console/orders/none", 404),
        ("/console/returns/x", 404),
        ("/console/acts/1", 404),
        ("/console/acts/x", 404),
        ("/console/webhooks/x", 404),
        ("/console/webhooks/01a22211-7394-7703-9164-d7cb142a319a", 404),
        ("/console/bulk/x", 404),
        ("/console/bulk/01a22211-7394-7703-9164-d7cb142a319a", 404),
        ("/console/bulk/new", 422),
        ("/console/bulk/new?act=replay", 422),
        ("/console/bulk/new?act=retry&since=yesterday", 422),
        ("/console?queue=shelves", 404),
        ("/console/jobs?status=gone", 422),
        ("/console/jobs?queue=shelves", 404),
        ("/console/jobs?since=yesterday", 422),
        ("/console/find?q=a%00b", 422),
        ("/console/jobs?error=%00", 422),
        ("/console/log?actor=%00", 422),
        ("/console/bulk/new?act=retry&error=%00", 422),
        ("/console/orders/%00", 404),
    ] {
        browser.open(path).await?.expect(status).has("role=\"alert\"");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_draws_what_was_rolled_up() -> Result<()> {
    let system = System::start(|options| options.parts = Part::ALL.to_vec()).await?;
    for _ in 0..3 {
        shop::order_in(&system.api, OrderState::Shipped).await?;
    }
    let pool = &system.database.pool;
    books::settled(pool).await?;
    let mut browser = Browser::of(&system)?;
    browser
        .open("/console/processes")
        .await?
        .expect(200)
        .has("relay")
        .has("projections")
        .has("refunds")
        .lacks("No process");
    // Each e-mail was due half a second before it started, and took a quarter of a second.
    let due = "update messaging.inbox set run_at = date_trunc('minute', clock_timestamp()) - interval '10 minutes',
                   started_at = date_trunc('minute', clock_timestamp()) - interval '10 minutes' + interval '500 ms',
                   finished_at = date_trunc('minute', clock_timestamp()) - interval '10 minutes' + interval '750 ms'
               where queue = 'notifications'";
    execute(pool, due).await?;
    let minute: DateTime<Utc> =
        sqlx::query_scalar("select min(run_at) from messaging.inbox where queue = 'notifications'")
            .fetch_one(pool)
            .await?;
    roll_up_minute(pool, minute).await?;
    roll_up_minute(pool, minute).await?;
    let rolled: (i32, i32, f32, f32) = sqlx::query_as(
        "select jobs, done, wait_p50, run_p99 from messaging.hop_figures where queue = 'notifications' and minute = $1",
    )
    .bind(minute)
    .fetch_one(pool)
    .await?;
    let jobs =
        i32::try_from(books::count(pool, "select count(*) from messaging.inbox where queue = 'notifications'").await?)?;
    assert!(jobs >= 3 && rolled == (jobs, jobs, 500.0, 250.0), "{jobs} jobs: {rolled:?}");
    for path in ["/console", "/console?queue=notifications", "/console?span=day"] {
        let drawn = browser.open(path).await?.expect(200);
        drawn
            .has("<svg")
            .has("latest: p50 500 ms, p99 500 ms")
            .has("latest: p50 250 ms, p99 250 ms")
            .has("class=\"line p99\"");
    }
    browser.open("/console?queue=refunds").await?.expect(200).has("latest: p50 –");
    system.finish().await
}
