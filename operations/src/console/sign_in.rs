//! How people come in: with a key, or through the identity provider. And how they leave.

use std::sync::Arc;

use access::api_key::ApiKey;
use access::{Provider, Secret};
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use runtime::ApiError;
use runtime::http::RequestContext;
use serde::Deserialize;

use super::Console;
use super::cookies::{SESSION, cookie, forget_cookie, set_cookie};
use super::document::encoded;
use super::overview::count;
use super::page::{Frame, page};
use super::refusal::{Answer, Refusal};

#[derive(Debug, Deserialize)]
pub(super) struct Coming {
    #[serde(default)]
    back: String,
    /// The visitor has just signed in.
    #[serde(default)]
    came: bool,
    /// The visitor has just signed out, and may still be signed in at the provider.
    #[serde(default)]
    left: bool,
}

/// `GET /console/sign-in`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    Query(coming): Query<Coming>,
    headers: HeaderMap,
) -> Response {
    let has_session = cookie(&headers, SESSION).is_some();
    if !console.access.is_checked() || coming.came && has_session {
        return Redirect::to(own_page(&coming.back)).into_response();
    }
    if coming.left {
        return left(&console).into_response();
    }
    let told = coming
        .came
        .then_some("Your browser did not keep the session. Open the console over HTTPS, and allow its cookie.");
    form(&console, &coming.back, told).into_response()
}

#[derive(Deserialize)]
pub(super) struct Credentials {
    key: String,
    #[serde(default)]
    back: String,
}

/// `POST /console/sign-in`. A page of another site cannot send this: the middleware refuses it.
pub(super) async fn sign_in(
    State(console): State<Arc<Console>>,
    context: RequestContext,
    headers: HeaderMap,
    form: Result<Form<Credentials>, FormRejection>,
) -> Answer<Response> {
    let Ok(Form(Credentials { key, back })) = form else {
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID_FORM", "the form has no field `key`"));
    };
    if !console.settings.console_key_sign_in {
        let message = "keys do not sign in here: CONSOLE_KEY_SIGN_IN is false; sign in at the identity provider";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "KEY_SIGN_IN_OFF", message));
    }
    let refused = |status: StatusCode, told: &str| (status, self::form(&console, &back, Some(told))).into_response();
    let key = key.trim();
    console.access.count(None, context.ip_address).map_err(Refusal::too_many)?;
    if let Err(answer) = console.access.admit(key, context.ip_address).await {
        let told = match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => "Too many attempts from your address. Wait a few seconds, then try again.",
            StatusCode::FORBIDDEN => "This key may not be used from your address.",
            StatusCode::UNAUTHORIZED => {
                "There is no such key, or it was revoked or has expired. `ops keys list` shows all."
            }
            _ => "The key cannot be checked at the moment. Try again.",
        };
        return Ok(refused(answer.status(), told));
    }
    let secret = Secret::generate().map_err(ApiError::internal)?;
    let started = match ApiKey::parse(key) {
        Some(key) => console.sessions.start(&key, &secret).await?,
        None => false,
    };
    if !started {
        return Ok(refused(
            StatusCode::UNAUTHORIZED,
            "The console takes API keys only, no tokens. An admin makes one with `ops keys create`.",
        ));
    }
    end(&console, &headers).await?;
    let set = set_cookie(SESSION, secret.expose(), &headers);
    Ok((AppendHeaders([(header::SET_COOKIE, set)]), Redirect::to(&after_sign_in(&back))).into_response())
}

/// Where a browser goes that has just got a session: to the page that says so if it did not keep it, and else on.
pub(super) fn after_sign_in(back: &str) -> String {
    format!("/console/sign-in?came=true&back={}", encoded(own_page(back)))
}

/// `POST /console/sign-out`
pub(super) async fn sign_out(State(console): State<Arc<Console>>, headers: HeaderMap) -> Answer<Response> {
    let next = if end(&console, &headers).await? { "/console/sign-in?left=true" } else { "/console/sign-in" };
    let set = forget_cookie(SESSION, &headers);
    Ok((AppendHeaders([(header::SET_COOKIE, set)]), Redirect::to(next)).into_response())
}

/// Ends the session that the browser has, if it has one. True: it was one of the identity provider.
async fn end(console: &Console, headers: &HeaderMap) -> Answer<bool> {
    match cookie(headers, SESSION).and_then(|text| Secret::parse(&text)) {
        Some(secret) => Ok(console.sessions.end(&secret).await?),
        None => Ok(false),
    }
}

/// A page of the console; nothing else is gone to.
pub(super) fn own_page(back: &str) -> &str {
    let is_own = back == "/console" || back.starts_with("/console/") || back.starts_with("/console?");
    let is_plain = back.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_own && is_plain { back } else { "/console" }
}

fn form(console: &Console, back: &str, told: Option<&str>) -> Html<String> {
    let has_keys = console.settings.console_key_sign_in;
    let content = html! {
        @if let Some(told) = told { p role="alert" .alert { (told) } }
        @if let Some(provider) = &console.provider {
            (way_to(provider, back))
            @if has_keys { h2 { "Or with a key" } }
        }
        @if has_keys { (key_form(back, console.provider.is_none())) }
        p .quiet { "A session lasts " (count(console.settings.console_session_hours.into(), "hour")) ", or an hour without a request." }
    };
    page(&Frame::of(console, "Sign in"), &content)
}

fn key_form(back: &str, is_first: bool) -> Markup {
    html! {
        form method="post" action="/console/sign-in" .sign-in {
            input type="hidden" name="back" value=(own_page(back));
            label for="key" { "API key" }
            input #key type="password" name="key" required autocomplete="current-password" autofocus[is_first] placeholder="ak_live_…";
            button { "Sign in" }
        }
        p .quiet { "A key of the role operator or admin; an admin makes one with " code { "ops keys create NAME --role operator" } "." }
    }
}

/// A link, because a form may not lead to another site (`form-action`).
fn way_to(provider: &Provider, back: &str) -> Markup {
    html! {
        @if provider.is_known() {
            p { a .button href={ "/console/sign-in/provider?back=" (encoded(own_page(back))) } { "Sign in at " (provider.issuer()) } }
        } @else {
            p role="status" .alert {
                "The identity provider " (provider.issuer()) " cannot be reached. It is asked again every 10 seconds. "
                a href={ "/console/sign-in?back=" (encoded(own_page(back))) } { "Look again" } ". " code { "PROVIDER_UNAVAILABLE" }
            }
        }
    }
}

fn left(console: &Console) -> Html<String> {
    let provider = console.provider.as_ref().and_then(|provider| Some((provider.issuer(), provider.end_session()?)));
    let content = html! {
        p role="status" .fine { "You are signed out of the console." }
        @if let Some((issuer, end_session)) = provider {
            p { "You may still be signed in at " (issuer) ". " a href=(end_session) { "Sign out there too" } }
        }
        p { a href="/console/sign-in" { "Sign in" } }
    };
    page(&Frame::of(console, "Signed out"), &content)
}

#[cfg(test)]
mod tests {
    use super::own_page;

    #[test]
    fn nothing_leads_away() {
        for own in ["/console", "/console/stuck", "/console/find?q=a%20b", "/console?x=1"] {
            assert_eq!(own_page(own), own);
        }
        for foreign in
            ["", "//evil.example", "https://evil.example", "/consoles", "/console/\\evil", "/console/\r\nx", "/api/v1"]
        {
            assert_eq!(own_page(foreign), "/console", "{foreign:?}");
        }
    }
}
