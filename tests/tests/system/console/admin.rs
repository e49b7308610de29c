//! What an admin looks after: keys, endpoints of webhooks, and whether everything holds.

use access::Role;
use access::settings::Auth;
use anyhow::{Context, Result};
use operations::write::keys::{NewKey, create};
use operations::write::{Operator, Source};
use secrecy::ExposeSecret;
use tests::waiting::SOON;
use tests::{System, books, shop};

use super::{Browser, Page};

async fn signed_in(system: &System, role: Role) -> Result<Browser> {
    let pool = system.database.pool_as(operations::ROLE).await?;
    let root = Operator::new("root", Source::Cli, "a test", None)?;
    let made = create(&pool, NewKey::new(role.as_str(), role, None, Vec::new(), None)?, root).await?;
    let mut browser = Browser::of(system)?;
    browser.send("/console/sign-in", &[("key", made.key.expose_secret())]).await?.expect(200);
    Ok(browser)
}

async fn guarded() -> Result<System> {
    System::start(|options| {
        options.access.auth = Some(Auth::Required);
        options.workers.webhooks.webhook_allow_private = true;
    })
    .await
}

/// The text of the first element that is shown this once.
fn shown_once(page: &Page) -> Result<String> {
    let (_, rest) = page.text.split_once("<code class=\"secret\">").context("something that is shown once")?;
    Ok(rest.split('<').next().context("its end")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_makes_rotates_and_revokes_keys() -> Result<()> {
    let system = guarded().await?;
    let mut admin = signed_in(&system, Role::Admin).await?;
    let token = admin.open("/console/keys").await?.expect(200).form_token();
    let new = [
        ("name", "shop-front"),
        ("role", "staff"),
        ("expires_in_days", "90"),
        ("networks", "127.0.0.0/8 ::1"),
        ("reason", "the new front end"),
        ("form_token", &*token),
    ];
    for (field, wrong, code) in [
        ("role", "owner", 422),
        ("expires_in_days", "0", 422),
        ("networks", "everywhere", 422),
        ("reason", "", 422),
        ("form_token", "AAAA", 403),
    ] {
        let fields = new.map(|(name, value)| (name, if name == field { wrong } else { value }));
        admin.send("/console/keys", &fields).await?.expect(code);
    }
    let made = admin.send("/console/keys", &new).await?.expect(200);
    let key = shown_once(&made)?;
    assert!(!admin.open("/console/keys").await?.text.contains(&key), "it is shown once");
    let call = |key: String| {
        system.api.call(reqwest::Method::GET, "/orders").header("authorization", &format!("Bearer {key}"))
    };
    call(key.clone()).send().await?.expect(200);

    let id: uuid::Uuid = sqlx::query_scalar("select id from access.api_keys where name = 'shop-front'")
        .fetch_one(&system.database.pool)
        .await?;
    let path = format!("/console/keys/{id}");
    let rotated =
        admin.send(&path, &[("act", "rotate"), ("reason", "every quarter"), ("form_token", &token)]).await?.expect(200);
    call(shown_once(&rotated)?).send().await?.expect(200);
    admin
        .send(&path, &[("act", "revoke"), ("reason", "it leaked"), ("form_token", &token)])
        .await?
        .expect(200)
        .has("is revoked");
    tests::eventually("the key is refused", SOON, async || {
        Ok((call(key.clone()).send().await?.status == 401).then_some(()))
    })
    .await?;

    let mut operator = signed_in(&system, Role::Operator).await?;
    operator.open("/console").await?.expect(200).lacks("/console/keys");
    operator.open("/console/keys").await?.expect(403);
    operator.send("/console/keys", &new).await?.expect(403);
    operator.send(&path, &[("act", "revoke"), ("reason", "x"), ("form_token", &token)]).await?.expect(403);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_added_tested_switched_and_deleted() -> Result<()> {
    let system = guarded().await?;
    let mut admin = signed_in(&system, Role::Admin).await?;
    let token = admin.open("/console/webhooks").await?.expect(200).form_token();
    let fields = |url| {
        [
            ("url", url),
            ("event_types", "order.shipped refund.processed"),
            ("reason", "the shop"),
            ("form_token", &*token),
        ]
    };
    admin.send("/console/webhooks", &fields("ftp://hooks.example.in")).await?.expect(422).has("url");
    let made = admin.send("/console/webhooks", &fields("http://127.0.0.1:9/hook")).await?.expect(200);
    assert!(shown_once(&made)?.starts_with("whsec_"));
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from messaging.webhook_endpoints").fetch_one(&system.database.pool).await?;
    let path = format!("/console/webhooks/{id}");
    admin
        .open("/console/webhooks")
        .await?
        .expect(200)
        .has("http://127.0.0.1:9/hook")
        .has("order.shipped, refund.processed");

    let act = |verb| [("act", verb), ("since", "3days"), ("reason", "a trial"), ("form_token", &*token)];
    admin.send(&path, &act("test")).await?.expect(200).has("webhook.test").has("pending");
    admin.send(&path, &act("rotate")).await?.expect(200).has("Earlier secret signs until");
    admin.send(&path, &act("disable")).await?.expect(200).has("is disabled");
    admin.send(&path, &act("test")).await?.expect(409).has("WEBHOOK_DISABLED");
    admin.send(&path, &act("enable")).await?.expect(200).has("is enabled");
    admin.send(&path, &act("sing")).await?.expect(422);

    let mut operator = signed_in(&system, Role::Operator).await?;
    let token = operator.open(&path).await?.expect(200).form_token();
    let act = |verb| [("act", verb), ("reason", "a trial"), ("form_token", &*token)];
    for verb in ["delete", "rotate", "disable"] {
        operator.send(&path, &act(verb)).await?.expect(403);
    }
    operator.send(&path, &act("test")).await?.expect(200);
    let token = admin.open(&path).await?.form_token();
    admin
        .send(&path, &[("act", "delete"), ("reason", "a trial"), ("form_token", &token)])
        .await?
        .expect(200)
        .has("There is no endpoint");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_is_run_by_a_person_and_by_no_link() -> Result<()> {
    let system = System::start(|_| {}).await?;
    shop::order_in(&system.api, contracts::OrderState::Paid).await?;
    books::delivered(&system.database.pool, SOON).await?;
    books::projected(&system.database.pool, SOON).await?;
    let mut browser = Browser::of(&system)?;
    let page = browser.open("/console/audit").await?.expect(200);
    page.has("versions are 1..n").lacks("Snapshot of");
    let token = page.form_token();
    browser.send("/console/audit", &[("form_token", "AAAA")]).await?.expect(403);
    browser
        .send("/console/audit", &[("form_token", &token)])
        .await?
        .expect(200)
        .has("Snapshot of")
        .has("holds")
        .lacks(">violated<");
    let spoil = "update command.orders set version = version + 1";
    crate::operations::execute(&system.database.pool, spoil).await?;
    browser
        .send("/console/audit", &[("form_token", &token)])
        .await?
        .expect(200)
        .has("Something does not hold")
        .has(">violated<");
    // `finish` audits, too.
    crate::operations::execute(&system.database.pool, "update command.orders set version = version - 1").await?;
    system.finish().await
}
