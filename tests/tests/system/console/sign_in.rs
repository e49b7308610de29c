//! Who gets in, and how far.

use std::num::NonZeroU32;

use access::Role;
use access::settings::Auth;
use anyhow::Result;
use operations::write::keys::{NewKey, create, revoke};
use operations::write::{Operator, Source};
use secrecy::ExposeSecret;
use tests::System;

use super::{Browser, Page};

async fn guarded() -> Result<System> {
    System::start(|options| {
        options.access.auth = Some(Auth::Required);
        options.access.rate_limit_per_address = NonZeroU32::new(5);
    })
    .await
}

fn root() -> Result<Operator> {
    Ok(Operator::new("root", Source::Cli, "a test", None)?)
}

async fn sign_in(browser: &mut Browser, key: &str) -> Result<Page> {
    browser.send("/console/sign-in", &[("key", key), ("back", "/console/jobs")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_acts_and_is_out_once_the_key_is_revoked() -> Result<()> {
    let system = guarded().await?;
    let pool = system.database.pool_as(operations::ROLE).await?;
    let made = create(&pool, NewKey::new("anita", Role::Operator, None, Vec::new(), None)?, root()?).await?;
    let mut browser = Browser::of(&system)?;
    for path in [
        "/console",
        "/console/stuck",
        "/console/events/x",
        "/console/orders/AC-1",
        "/console/log.csv",
        "/console/acts/1",
    ] {
        let page = browser.open(path).await?.expect(200);
        assert!(page.path.starts_with("/console/sign-in?back="), "{path}: {}", page.path);
    }
    sign_in(&mut browser, "ak_live_nonsense").await?.expect(401).has("role=\"alert\"");
    let jobs = sign_in(&mut browser, made.key.expose_secret()).await?.expect(200);
    assert_eq!(jobs.path, "/console/jobs", "where they wanted to go");
    jobs.has("<span>anita</span>").lacks("Your name");

    let token = browser.open("/console").await?.expect(200).form_token();
    let fields = [
        ("act", "pause"),
        ("queue", "refunds"),
        ("reason", "the bank is closed"),
        ("form_token", &*token),
        ("actor", "x"),
    ];
    browser.send("/console/act", &fields).await?.expect(200);
    let actor: String = sqlx::query_scalar("select actor from messaging.operator_actions where action = 'PAUSE'")
        .fetch_one(&system.database.pool)
        .await?;
    assert_eq!(actor, "anita", "and not the one of the form");
    let from_elsewhere = browser.filled_in("/console/act", &fields).header("origin", "https://evil.example");
    let mut request = from_elsewhere.build()?;
    request.headers_mut().insert("sec-fetch-site", "cross-site".parse()?);
    assert_eq!(browser.http.execute(request).await?.status(), 403);

    let stored: Vec<u8> =
        sqlx::query_scalar("select hash from access.sessions").fetch_one(&system.database.pool).await?;
    assert!(!browser.cookies.values().any(|cookie| cookie.as_bytes() == stored), "the database has no secret");
    revoke(&pool, made.id, root()?).await?;
    assert!(browser.open("/console").await?.path.starts_with("/console/sign-in"), "the session ends with the key");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_and_a_role_sees_what_it_may() -> Result<()> {
    let system = guarded().await?;
    let pool = system.database.pool_as(operations::ROLE).await?;
    let staff = create(&pool, NewKey::new("meera", Role::Staff, None, Vec::new(), None)?, root()?).await?;
    let operator = create(&pool, NewKey::new("anita", Role::Operator, None, Vec::new(), None)?, root()?).await?;
    let mut browser = Browser::of(&system)?;
    sign_in(&mut browser, staff.key.expose_secret()).await?.expect(403).has("the role staff may not");
    for path in ["/console", "/console/stuck", "/console/schedules", "/console/log", "/console/find?q=AC-1"] {
        browser.open(path).await?.expect(403).lacks("<nav");
    }
    browser.send("/console/sign-out", &[]).await?.expect(200);
    assert_eq!(tests::books::count(&system.database.pool, "select count(*) from access.sessions").await?, 0);

    for (end, of) in [
        (
            "update access.sessions set last_seen_at = clock_timestamp() - interval '61 minutes'",
            "an hour without a request",
        ),
        ("update access.sessions set expires_at = clock_timestamp()", "twelve hours"),
        ("update access.api_keys set expires_at = clock_timestamp() where name = 'anita'", "the key"),
    ] {
        sign_in(&mut browser, operator.key.expose_secret()).await?.expect(200);
        sign_in(&mut browser, operator.key.expose_secret()).await?.expect(200);
        let sessions = "select count(*) from access.sessions where expires_at > clock_timestamp() and last_seen_at > now() - interval '1 hour'";
        assert_eq!(
            tests::books::count(&system.database.pool, sessions).await?,
            1,
            "a sign-in ends the session before it"
        );
        crate::operations::execute(&system.database.pool, end).await?;
        assert!(browser.open("/console").await?.path.starts_with("/console/sign-in"), "ended by {of}");
    }
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_not_guessed() -> Result<()> {
    let system = guarded().await?;
    let mut browser = Browser::of(&system)?;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(
            sign_in(&mut browser, "ak_live_abcdefghjk_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").await?.status,
        );
    }
    assert!(statuses.contains(&401) && statuses.last() == Some(&429), "{statuses:?}");
    system.finish().await
}
