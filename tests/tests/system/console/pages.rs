//! What every page has.

use anyhow::Result;
use contracts::OrderState;
use tests::{System, shop};
use uuid::Uuid;

use super::Browser;

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
        ("/console/acts/1", 404),
        ("/console/acts/x", 404),
        ("/console/webhooks/x", 404),
        ("/console/webhooks/01a22211-7394-7703-9164-d7cb142a319a", 404),
        ("/console/jobs?status=gone", 422),
        ("/console/jobs?queue=shelves", 404),
        ("/console/jobs?since=yesterday", 422),
    ] {
        browser.open(path).await?.expect(status).has("role=\"alert\"");
    }
    system.finish().await
}
