//! Sign-in at an identity provider, by the code flow of OpenID Connect.

mod ways;

use access::settings::Auth;
use anyhow::{Context, Result};
use embedded::free_port;
use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::{Method, Url};
use runtime::Clock;
use serde_json::{Value, json};
use standalone::Options;
use tests::servers::IdentityProvider;
use tests::{System, books};

use super::{Browser, Page};

const SIGN_IN: &str = "articurated_sign_in";

/// Where a console and its provider are.
struct Places {
    console: u16,
    provider: u16,
}

impl Places {
    fn free() -> Result<Self> {
        Ok(Self { console: free_port()?, provider: free_port()? })
    }

    fn provider(&self) -> Result<IdentityProvider> {
        IdentityProvider::start(self.provider, &format!("http://127.0.0.1:{}/console/sign-in/callback", self.console))
    }

    async fn system(&self, adjust: impl FnOnce(&mut Options)) -> Result<System> {
        let issuer = format!("http://localhost:{}", self.provider);
        let console = format!("http://127.0.0.1:{}/console", self.console).parse()?;
        System::start_at(self.console, move |options| {
            options.access.auth = Some(Auth::Required);
            let settings = &mut options.console.provider;
            settings.oidc_issuer = Some(issuer);
            settings.oidc_client_id = Some("console".to_owned());
            settings.oidc_client_secret = Some("hush%41".into());
            settings.console_url = Some(console);
            adjust(options);
        })
        .await
    }
}

/// A provider, and a system whose console sends people to it.
async fn connected(adjust: impl FnOnce(&mut Options)) -> Result<(IdentityProvider, System)> {
    let places = Places::free()?;
    Ok((places.provider()?, places.system(adjust).await?))
}

/// Follows the link to the provider. The address there.
async fn go(browser: &mut Browser, back: &str) -> Result<Url> {
    let path = format!("/console/sign-in/provider?back={back}");
    let answer = browser.request(Method::GET, &path).send().await?;
    assert_eq!(answer.status(), 303, "{path}");
    let set = answer.headers().get(SET_COOKIE).context("a cookie")?.to_str()?.to_owned();
    assert!(set.contains("; HttpOnly; SameSite=Lax; Max-Age=600"), "{set}");
    let (name, value) = set.split(';').next().and_then(|pair| pair.split_once('=')).context("a cookie")?;
    browser.cookies.insert(name.to_owned(), value.to_owned());
    Ok(Url::parse(answer.headers().get(LOCATION).context("an address")?.to_str()?)?)
}

/// What a person does at the provider. Where it sends the browser, without the host.
async fn at_the_provider(browser: &Browser, there: Url, field: (&str, &str)) -> Result<String> {
    let form = browser.http.post(there).header("content-type", "application/x-www-form-urlencoded");
    let answer = form.body(format!("{}={}", field.0, field.1)).send().await?;
    let text = answer.headers().get(LOCATION).context("an address")?.to_str()?.to_owned();
    let back = text.strip_prefix(&browser.base).with_context(|| text.clone())?;
    Ok(back.to_owned())
}

async fn sign_in(browser: &mut Browser, back: &str, subject: &str) -> Result<Page> {
    let there = go(browser, back).await?;
    let path = at_the_provider(browser, there, ("sub", subject)).await?;
    browser.open(&path).await
}

/// An address with another value of a parameter.
fn with(address: &Url, name: &str, value: &str) -> Url {
    let pairs: Vec<_> =
        address.query_pairs().filter(|(key, _)| key != name).map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    let mut address = address.clone();
    address.query_pairs_mut().clear().extend_pairs(pairs).append_pair(name, value);
    address
}

async fn sessions(system: &System) -> Result<i64> {
    books::count(&system.database.pool, "select count(*) from access.sessions").await
}

fn anita() -> Value {
    json!({ "name": "Anita Rao", "role": "operator" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_at_the_provider_acts_and_signs_out_of_both() -> Result<()> {
    let (provider, system) = connected(|options| options.console.console_session_hours = 2).await?;
    provider.says("anita", &anita()).await?;
    let mut browser = Browser::of(&system)?;
    let page = browser.open("/console/jobs").await?.expect(200);
    page.has("/console/sign-in/provider?back=%2Fconsole%2Fjobs").has("API key").lacks("PROVIDER_UNAVAILABLE");

    let jobs = sign_in(&mut browser, "/console/jobs", "anita").await?.expect(200);
    assert_eq!(jobs.path, "/console/jobs", "where they wanted to go");
    jobs.has("<span>Anita Rao</span>").lacks("Your name");
    let token = browser.open("/console").await?.expect(200).form_token();
    let fields =
        [("act", "pause"), ("queue", "refunds"), ("reason", "a test"), ("form_token", &*token), ("actor", "x")];
    browser.send("/console/act", &fields).await?.expect(200);
    let recorded: (String, String) =
        sqlx::query_as("select actor, source from messaging.operator_actions").fetch_one(&system.database.pool).await?;
    assert_eq!(recorded, ("Anita Rao (anita)".to_owned(), "CONSOLE".to_owned()));

    let within = "select count(*) from access.sessions where expires_at between now() + interval '119 minutes' and now() + interval '2 hours'";
    assert_eq!(books::count(&system.database.pool, within).await?, 1);
    sign_in(&mut browser, "", "anita").await?.expect(200);
    assert_eq!(sessions(&system).await?, 1, "a sign-in ends the session before it");
    crate::operations::execute(
        &system.database.pool,
        "update access.sessions set issuer = 'https://elsewhere.example'",
    )
    .await?;
    assert!(browser.open("/console").await?.path.starts_with("/console/sign-in"), "the settings name another issuer");
    for end in ["expires_at = clock_timestamp()", "last_seen_at = clock_timestamp() - interval '61 minutes'"] {
        sign_in(&mut browser, "", "anita").await?.expect(200);
        crate::operations::execute(&system.database.pool, &format!("update access.sessions set {end}")).await?;
        assert!(browser.open("/console").await?.path.starts_with("/console/sign-in"), "{end}");
    }
    sign_in(&mut browser, "", "anita").await?.expect(200);
    let left = browser.send("/console/sign-out", &[]).await?.expect(200);
    left.has(&format!("href=\"{}/oauth2/end_session?client_id=", provider.issuer))
        .has("post_logout_redirect_uri=http%3A%2F%2F127.0.0.1");
    assert!(browser.open("/console").await?.path.starts_with("/console/sign-in"));
    assert_eq!(
        books::count(&system.database.pool, "select count(*) from access.sessions where expires_at > now()").await?,
        0
    );
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_token_for_this_sign_in_lets_a_person_in() -> Result<()> {
    let (provider, system) = connected(|_| {}).await?;
    let mut browser = Browser::of(&system)?;
    let now = Clock::system().now().timestamp();
    for (claims, told) in [
        (json!({ "nonce": "x" }), "nonce is of another sign-in"),
        (json!({ "nonce": null }), "nonce is of another sign-in"),
        (json!({ "iss": "https://elsewhere.example" }), "of another issuer"),
        (json!({ "aud": "other" }), "for another audience"),
        (json!({ "aud": ["console", "other"] }), "azp is not this client"),
        (json!({ "azp": "other" }), "azp is not this client"),
        (json!({ "exp": now - 120 }), "has expired"),
        (json!({ "iat": now + 600 }), "iat is not the time of this sign-in"),
        (json!({ "iat": now - 3_600 }), "iat is not the time of this sign-in"),
        (json!({ "nbf": now + 600 }), "is not valid yet"),
    ] {
        let mut all = anita();
        all.as_object_mut().context("claims")?.extend(claims.as_object().context("claims")?.clone());
        provider.says("anita", &all).await?;
        let page = sign_in(&mut browser, "", "anita").await?.expect(403);
        page.has("ID_TOKEN_INVALID").has(told).has("Not signed in");
    }
    provider.says("forged", &anita()).await?;
    sign_in(&mut browser, "", "forged").await?.expect(403).has("ID_TOKEN_INVALID").has("the signature is wrong");
    let long = "x".repeat(65);
    provider.says(&long, &anita()).await?;
    sign_in(&mut browser, "", &long).await?.expect(403).has("ID_TOKEN_INVALID").has("sub must have");
    assert_eq!(sessions(&system).await?, 0);

    provider.says("anita", &json!({ "role": "admin", "aud": ["console", "other"], "azp": "console", "name": "  A\u{202e}\u{7}nita  " })).await?;
    sign_in(&mut browser, "", "anita").await?.expect(200).has("<span>Anita</span>");
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_back_belongs_to_one_sign_in_of_one_browser_and_counts_once() -> Result<()> {
    let (provider, system) = connected(|_| {}).await?;
    provider.says("anita", &anita()).await?;
    let [mut browser, mut other] = [Browser::of(&system)?, Browser::of(&system)?];

    let there = go(&mut browser, "").await?;
    let parameters: Vec<_> = there.query_pairs().map(|(name, _)| name.into_owned()).collect();
    for name in ["state", "nonce", "code_challenge"] {
        assert!(parameters.iter().any(|parameter| parameter == name), "{there}");
    }
    let back = at_the_provider(&browser, there.clone(), ("sub", "anita")).await?;
    other.open(&back).await?.expect(400).has("SIGN_IN_NOT_STARTED").has("this browser has started no sign-in");
    go(&mut other, "").await?;
    other.open(&back).await?.expect(400).has("STATE_MISMATCH");
    browser.open(&format!("{back}x")).await?.expect(400).has("STATE_MISMATCH");
    browser.open(back.split("&state").next().context("an address")?).await?.expect(400).has("STATE_MISMATCH");
    // None of that has ended the sign-in. Its end does, also for one who has kept the cookie and has a new code.
    let kept = browser.cookies[SIGN_IN].clone();
    browser.open(&back).await?.expect(200);
    assert_eq!(browser.cookies[SIGN_IN], "", "the browser forgets it");
    for back in [back.clone(), at_the_provider(&browser, there, ("sub", "anita")).await?] {
        browser.cookies.insert(SIGN_IN.to_owned(), kept.clone());
        browser.open(&back).await?.expect(400).has("SIGN_IN_EXPIRED");
    }

    // A code counts once, and in the sign-in that it was made for.
    let code_of = |back: &str| Some(back.split_once("code=")?.1.split('&').next()?.to_owned());
    let used = code_of(&back).context("a code")?;
    let there = go(&mut browser, "").await?;
    let fresh = at_the_provider(&browser, there.clone(), ("sub", "anita")).await?;
    let of_this = code_of(&fresh).context("a code")?;
    browser.open(&fresh.replace(&of_this, &used)).await?.expect(400).has("CODE_REFUSED").has("invalid_grant");
    let there = go(&mut browser, "").await?;
    let fresh = at_the_provider(&browser, there, ("sub", "anita")).await?;
    let stolen = code_of(&fresh).context("a code")?;
    let there = go(&mut other, "").await?;
    let theirs = at_the_provider(&other, there, ("sub", "anita")).await?;
    let injected = theirs.replace(&code_of(&theirs).context("a code")?, &stolen);
    other.open(&injected).await?.expect(400).has("CODE_REFUSED").has("invalid_grant");

    let there = go(&mut browser, "").await?;
    let late = at_the_provider(&browser, with(&there, "nonce", "x"), ("sub", "anita")).await?;
    browser.open(&late).await?.expect(403).has("nonce is of another sign-in");
    let there = go(&mut browser, "").await?;
    let late = at_the_provider(&browser, there, ("sub", "anita")).await?;
    crate::operations::execute(&system.database.pool, "update access.sign_ins set expires_at = clock_timestamp()")
        .await?;
    browser.open(&late).await?.expect(400).has("SIGN_IN_EXPIRED");

    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_provider_refuses_is_told_and_no_address_leads_elsewhere() -> Result<()> {
    let (provider, system) = connected(|_| {}).await?;
    provider.says("anita", &anita()).await?;
    let mut browser = Browser::of(&system)?;
    for (answer, status, code) in [
        ("error=access_denied", 403, "SIGN_IN_DENIED"),
        ("error=access_denied&code=x", 403, "SIGN_IN_DENIED"),
        ("error=<b>server_error</b>", 400, "&lt;b&gt;server_error"),
        ("error=temporarily_unavailable", 400, "PROVIDER_ERROR"),
        ("x=y", 400, "it sent no code"),
    ] {
        let there = go(&mut browser, "").await?;
        let state = there.query_pairs().find(|(name, _)| name == "state").context("a state")?.1.into_owned();
        browser.open(&format!("/console/sign-in/callback?state={state}&{answer}")).await?.expect(status).has(code);
    }
    let there = go(&mut browser, "").await?;
    let denied = at_the_provider(&browser, there, ("action", "deny")).await?;
    browser.open(&denied).await?.expect(403).has("SIGN_IN_DENIED").has("href=\"/console/sign-in\"");
    for elsewhere in ["https://evil.example", "//evil.example", "/console/%5Cevil", "/api/v1"] {
        let page = sign_in(&mut browser, elsewhere, "anita").await?.expect(200);
        assert_eq!(page.path, "/console", "{elsewhere}");
    }
    system.finish().await
}
