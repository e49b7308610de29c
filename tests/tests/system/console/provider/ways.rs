//! Who may, what the settings open, a provider that is away, and a browser.

use access::Role;
use access::settings::Auth;
use anyhow::{Context, Result, ensure};
use operations::write::keys::{NewKey, create};
use operations::write::{Operator, Source};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use standalone::Options;
use tests::servers::axe;
use tests::waiting::SOON;
use tests::{System, eventually};

use super::super::Browser;
use super::super::browser::Person;
use super::{Places, anita, at_the_provider, connected, go, sessions, sign_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_has_the_first_role_that_the_settings_give_and_none_is_no_session() -> Result<()> {
    let (provider, system) = connected(|options| {
        options.console.provider.oidc_role_claim = Some("/realm_access/roles".to_owned());
        options.console.provider.oidc_roles =
            Some("console-admins=admin,console-operators=operator,warehouse=staff".to_owned());
    })
    .await?;
    let mut browser = Browser::of(&system)?;
    let roles = |roles: Value| json!({ "name": "Anita Rao", "realm_access": { "roles": roles } });
    for (claims, told) in [
        (json!({ "name": "Anita Rao" }), "the claim /realm_access/roles of the ID token is missing"),
        (json!({ "role": "admin" }), "is missing"),
        (roles(json!([])), "is no text and no list of texts"),
        (roles(json!(7)), "is no text and no list of texts"),
        (roles(json!("admin")), "has admin, and none of console-admins, console-operators, warehouse"),
        (roles(json!(["customer", "<b>"])), "has customer, &lt;b&gt;, and none of"),
    ] {
        provider.says("anita", &claims).await?;
        let page = sign_in(&mut browser, "", "anita").await?.expect(403);
        page.has("NO_ROLE").has(told).has("OIDC_ROLES").lacks("<nav");
        assert_eq!(sessions(&system).await?, 0, "{claims}");
        assert!(browser.open("/console").await?.path.starts_with("/console/sign-in"));
    }
    for (claims, keys) in [
        (roles(json!(["customer", "console-operators"])), 403),
        (roles(json!("console-admins")), 200),
        (roles(json!(["console-operators", "console-admins"])), 200),
    ] {
        provider.says("anita", &claims).await?;
        sign_in(&mut browser, "", "anita").await?.expect(200);
        browser.open("/console/keys").await?.expect(keys);
    }
    provider.says("anita", &roles(json!("warehouse"))).await?;
    sign_in(&mut browser, "", "anita").await?.expect(403).has("the role staff may not");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_away_keeps_no_one_out_who_has_a_key() -> Result<()> {
    let places = Places::free()?;
    let system = places.system(|_| {}).await?;
    let mut browser = Browser::of(&system)?;
    let page = browser.open("/console").await?.expect(200);
    page.has("cannot be reached").has("PROVIDER_UNAVAILABLE").has("API key").lacks("/console/sign-in/provider");
    browser.open("/console/sign-in/provider").await?.expect(503).has("PROVIDER_UNAVAILABLE");
    let pool = system.database.pool_as(operations::ROLE).await?;
    let root = Operator::new("root", Source::Cli, "a test", None)?;
    let made = create(&pool, NewKey::new("meera", Role::Operator, None, Vec::new(), None)?, root).await?;
    browser.send("/console/sign-in", &[("key", made.key.expose_secret())]).await?.expect(200).has("<span>meera</span>");
    let left = browser.send("/console/sign-out", &[]).await?.expect(200);
    assert_eq!(left.path, "/console/sign-in", "a key has nothing to sign out of elsewhere");

    let provider = places.provider()?;
    provider.says("anita", &anita()).await?;
    eventually("the provider is noticed", SOON, async || {
        let page = browser.open("/console/sign-in").await?.expect(200);
        Ok(page.text.contains("/console/sign-in/provider").then_some(()))
    })
    .await?;
    let there = go(&mut browser, "").await?;
    let back = at_the_provider(&browser, there, ("sub", "anita")).await?;
    drop(provider);
    browser.open(&back).await?.expect(503).has("PROVIDER_UNAVAILABLE").has("Back to the sign-in");
    // It comes back with other keys.
    let provider = places.provider()?;
    provider.says("anita", &anita()).await?;
    sign_in(&mut browser, "", "anita").await?.expect(200).has("<span>Anita Rao</span>");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_settings_decide_which_ways_in_there_are() -> Result<()> {
    let (provider, system) = connected(|options| options.console.console_key_sign_in = false).await?;
    provider.says("anita", &anita()).await?;
    let mut browser = Browser::of(&system)?;
    browser.open("/console/sign-in").await?.expect(200).has("/console/sign-in/provider").lacks("API key");
    browser.send("/console/sign-in", &[("key", "x")]).await?.expect(403).has("KEY_SIGN_IN_OFF");
    sign_in(&mut browser, "", "anita").await?.expect(200);
    system.finish().await?;

    let system = System::start(|options| options.access.auth = Some(Auth::Required)).await?;
    let mut browser = Browser::of(&system)?;
    browser.open("/console/sign-in").await?.expect(200).has("API key").lacks("/console/sign-in/provider");
    for path in ["/console/sign-in/provider", "/console/sign-in/callback?state=x&code=y"] {
        browser.open(path).await?.expect(404).has("PROVIDER_NOT_SET");
    }
    system.finish().await?;

    let places = Places::free()?;
    let wrong = async |adjust: fn(&mut Options), told: &str| -> Result<()> {
        let error = places.system(adjust).await.err().context("it starts all the same")?;
        assert!(format!("{error:#}").contains(told), "{error:#}");
        Ok(())
    };
    wrong(|options| options.access.auth = Some(Auth::None), "AUTH=none asks no one").await?;
    wrong(|options| options.console.provider.oidc_client_secret = None, "set all four, or none").await?;
    wrong(|options| options.console.provider.oidc_roles = Some("shop=customer".to_owned()), "customers do not use")
        .await?;
    let none = System::start(|options| options.console.console_key_sign_in = false).await;
    assert!(format!("{:#}", none.err().context("it starts")?).contains("needs an identity provider"));
    Ok(())
}

/// In Chromium, because only a browser has `SameSite` and `form-action`, and without a script of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_comes_back_from_the_provider_with_a_session() -> Result<()> {
    let (provider, system) = connected(|_| {}).await?;
    provider.says("anita", &anita()).await?;
    let (base, issuer) = (system.base_url().to_owned(), provider.issuer.clone());
    tokio::task::spawn_blocking(move || -> Result<()> {
        let (person, axe) = (Person::new()?, axe()?);
        let jobs = format!("{base}/console/jobs");
        person.open(&jobs)?;
        for (dark, width) in [(true, 390), (false, 1_280)] {
            person.look(dark, width)?;
            let wrong = person.wrong(&axe)?;
            ensure!(wrong.is_empty(), "the sign-in, dark: {dark}: {wrong:#?}");
        }
        let signs_in = || -> Result<()> {
            person.tab_to("element.className === 'button'")?;
            person.strike(&["Enter"])?;
            person.until(&format!("location.origin === '{issuer}' && document.readyState === 'complete'"))?;
            person.tab_to("element.name === 'sub'")?;
            person.write("anita")?;
            person.strike(&["Enter"])
        };
        signs_in()?;
        person.until(&format!("location.href === '{jobs}' && document.body.innerText.includes('Anita Rao')"))?;
        person.tab_to("element.textContent === 'Sign out'")?;
        person.strike(&["Enter"])?;
        person.until(
            "location.pathname === '/console/sign-in' && document.body.innerText.includes('Sign out there too')",
        )?;
        let wrong = person.wrong(&axe)?;
        ensure!(wrong.is_empty(), "signed out: {wrong:#?}");
        person.open(&jobs)?;
        person.until("location.pathname === '/console/sign-in'")?;
        // With a session, the next sign-in ends it: the cookie goes along to us before it goes to the provider.
        signs_in()?;
        person.until(&format!("location.href === '{jobs}'"))?;
        person.open(&format!("{base}/console/sign-in"))?;
        signs_in()?;
        person.until(&format!("location.href === '{base}/console' && document.body.innerText.includes('Anita Rao')"))
    })
    .await??;
    assert_eq!(sessions(&system).await?, 1);
    system.finish().await
}
