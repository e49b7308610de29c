//! Sign-in at the identity provider: the way there, and the way back.
//!
//! The provider sends the browser back from another site. So the cookie of the sign-in is `SameSite=Lax`, and that of the session
//! (`SameSite=Strict`) does not come along. Nor would it with a redirect: it is a page of ours that goes on, with the session.

use std::sync::Arc;

use access::provider::{NotSignedIn, Person};
use access::sign_ins::SignIn;
use access::{Provider, Secret};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::html;
use runtime::ApiError;
use runtime::http::RequestContext;
use serde::Deserialize;

use super::Console;
use super::cookies::{SESSION, SIGN_IN, cookie, forget_cookie, set_cookie};
use super::document::{Document, document};
use super::refusal::{Answer, Refusal};
use super::sign_in::{after_sign_in, own_page};

/// The longest address that is come back to.
const LONGEST_BACK: usize = 2_000;

#[derive(Debug, Deserialize)]
pub(super) struct Going {
    #[serde(default)]
    back: String,
}

/// `GET /console/sign-in/provider`
pub(super) async fn start(
    State(console): State<Arc<Console>>,
    context: RequestContext,
    Query(going): Query<Going>,
    headers: HeaderMap,
) -> Answer<Response> {
    let provider = provider(&console)?;
    console.access.count(None, context.ip_address).map_err(Refusal::too_many)?;
    let secret = Secret::generate().map_err(ApiError::internal)?;
    let Some(next) = provider.authorization(&secret) else {
        return Err(unavailable(provider));
    };
    let back = Some(own_page(&going.back)).filter(|back| back.len() <= LONGEST_BACK).unwrap_or("/console");
    let earlier = cookie(&headers, SESSION).and_then(|text| Secret::parse(&text));
    console.sign_ins.start(&secret, back, earlier.as_ref()).await?;
    let set = set_cookie(SIGN_IN, secret.expose(), &headers);
    Ok((AppendHeaders([(header::SET_COOKIE, set)]), Redirect::to(&next)).into_response())
}

/// What the provider adds to our address.
#[derive(Debug, Deserialize)]
pub(super) struct Returned {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// `GET /console/sign-in/callback`
pub(super) async fn come_back(
    State(console): State<Arc<Console>>,
    context: RequestContext,
    Query(returned): Query<Returned>,
    headers: HeaderMap,
) -> Answer<Response> {
    let provider = provider(&console)?;
    console.access.count(None, context.ip_address).map_err(Refusal::too_many)?;
    let (secret, sign_in) = sign_in_of(&console, provider, &returned, &headers).await?;
    let forget = forget_cookie(SIGN_IN, &headers);
    let person = match person(provider, &secret, returned).await {
        Ok(person) => person,
        Err(refusal) => return Ok((AppendHeaders([(header::SET_COOKIE, forget)]), refusal).into_response()),
    };
    let session = Secret::generate().map_err(ApiError::internal)?;
    console.sessions.start_person(&person, &session, &sign_in.earlier).await?;
    let cookies = [set_cookie(SESSION, session.expose(), &headers), forget].map(|set| (header::SET_COOKIE, set));
    Ok((AppendHeaders(cookies), go_on(&console, &sign_in.back)).into_response())
}

/// The sign-in that started in this browser, which comes back now and not again.
async fn sign_in_of(
    console: &Console,
    provider: &Provider,
    returned: &Returned,
    headers: &HeaderMap,
) -> Answer<(Secret, SignIn)> {
    let started = cookie(headers, SIGN_IN).and_then(|text| Secret::parse(&text));
    let secret = started.ok_or_else(|| {
        let message = format!(
            "this browser has started no sign-in in the last ten minutes, or did not keep its cookie; open the console at {}, and sign in \
             again",
            provider.console()
        );
        failed(StatusCode::BAD_REQUEST, "SIGN_IN_NOT_STARTED", message)
    })?;
    if !provider.is_state_of(&secret, &returned.state) {
        let message = "this is the answer to another sign-in than the last one that this browser has started; sign in again, in one tab";
        return Err(failed(StatusCode::BAD_REQUEST, "STATE_MISMATCH", message));
    }
    let sign_in = console.sign_ins.take(&secret).await?.ok_or_else(|| {
        let message = "this sign-in has come back before, or took longer than ten minutes; sign in again";
        failed(StatusCode::BAD_REQUEST, "SIGN_IN_EXPIRED", message)
    })?;
    Ok((secret, sign_in))
}

async fn person(provider: &Provider, secret: &Secret, returned: Returned) -> Answer<Person> {
    let code = match (returned.error.as_deref(), returned.code) {
        (None, Some(code)) => code,
        (Some("access_denied"), _) => {
            let message = format!("you, or {}, have refused this sign-in", provider.issuer());
            return Err(failed(StatusCode::FORBIDDEN, "SIGN_IN_DENIED", message));
        }
        (error, _) => {
            let plain = |error: &str| error.chars().filter(char::is_ascii_graphic).take(64).collect();
            let error: String = error.map_or_else(|| "it sent no code".to_owned(), plain);
            let message = format!("{} could not sign you in: {error}; try again, or ask its admin", provider.issuer());
            return Err(failed(StatusCode::BAD_REQUEST, "PROVIDER_ERROR", message));
        }
    };
    provider.person(secret, &code).await.map_err(|refused| told(provider, &refused))
}

fn told(provider: &Provider, refused: &NotSignedIn) -> Refusal {
    let (status, code, remedy) = match refused {
        NotSignedIn::Unavailable(error) => {
            tracing::warn!(
                issuer = provider.issuer(),
                error = format!("{error:#}"),
                "the identity provider cannot be reached"
            );
            return unavailable(provider);
        }
        NotSignedIn::CodeRefused(_) => (
            StatusCode::BAD_REQUEST,
            "CODE_REFUSED",
            "sign in again; if it says invalid_client, OIDC_CLIENT_ID or OIDC_CLIENT_SECRET is wrong",
        ),
        NotSignedIn::InvalidToken(_) => (
            StatusCode::FORBIDDEN,
            "ID_TOKEN_INVALID",
            "sign in again; if it stays so, the provider does not fit the settings OIDC_*",
        ),
        NotSignedIn::NoRole { .. } => (
            StatusCode::FORBIDDEN,
            "NO_ROLE",
            "ask the admin of the provider for one of these, or the admin of this installation to change OIDC_ROLES or OIDC_ROLE_CLAIM",
        ),
    };
    // What the person has in the claim stays out of the log.
    tracing::warn!(issuer = provider.issuer(), code, "sign-in refused");
    failed(status, code, format!("{refused}; {remedy}"))
}

/// A page of ours that goes on to where the person wanted to go, at once and without a script.
fn go_on(console: &Console, back: &str) -> Response {
    let next = after_sign_in(back);
    let frame = Document { title: "Signed in", installation: &console.settings.console_name, next: &next };
    document(&frame, Default::default(), &html! { p { a href=(next) { "Go on" } } }).into_response()
}

fn provider(console: &Console) -> Answer<&Provider> {
    console.provider.as_ref().ok_or_else(|| {
        let message = "no identity provider is set (OIDC_ISSUER); sign in with a key";
        failed(StatusCode::NOT_FOUND, "PROVIDER_NOT_SET", message)
    })
}

fn unavailable(provider: &Provider) -> Refusal {
    let message =
        format!("the identity provider {} cannot be reached; try again, or sign in with a key", provider.issuer());
    failed(StatusCode::SERVICE_UNAVAILABLE, "PROVIDER_UNAVAILABLE", message)
}

fn failed(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::NotSignedIn(Box::new(ApiError::new(status, code, message)))
}
