//! The console: pages for people who look after the system, under `/console`.
//!
//! - `visitor`: who looks; `cookies`: what their browser keeps; `sign_in`: how they come in, with a key or at the identity `provider`;
//! - `document` and `page`: what is around every page, and what pages have in common; `filter`: what is in their addresses; `plots`:
//!   pictures of the last hour or day; `refusal`: why there is none;
//! - `overview`, `find`, `stuck`, `jobs`, `event`, `story` with its `pdf`s, `processes`, `schedules`, `webhooks`, `keys`, `audit`, `log`:
//!   the pages;
//! - `act`: what changes named things, `bulk`: what changes all that a filter matches; `outcome`: what came of it.
//!
//! Each page is whole without a script. Who may see a page, or act, is who may call the operation of the API that does the same, by the
//! table in the crate `access`. Invariant: a change comes from a form with a token and a reason, and answers with what came of it.

mod cookies;
mod visitor;
mod sign_in;
mod provider;
mod document;
mod filter;
mod page;
mod plots;
mod overview;
mod find;
mod stuck;
mod jobs;
mod event;
mod story;
mod pdf;
mod processes;
mod schedules;
mod webhooks;
mod keys;
mod audit;
mod log;
mod act;
mod bulk;
mod outcome;
mod refusal;
mod settings;

use std::sync::Arc;

use access::{Access, Provider, Secret, Sessions, SignIns};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use runtime::Tasks;

use crate::Shared;

pub use settings::ConsoleSettings;

/// Nothing runs but our own script, and forms go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
const STYLE: &str = include_str!("console/style.css");
const SCRIPT: &str = include_str!("console/shortcuts.js");

/// What the pages share.
#[derive(Debug)]
struct Console {
    shared: Shared,
    access: Access,
    sessions: Sessions,
    sign_ins: SignIns,
    /// Where people may sign in instead of with a key.
    provider: Option<Provider>,
    /// Ties forms to this process where there are no sessions.
    secret: Secret,
    settings: ConsoleSettings,
}

/// The pages.
///
/// # Errors
/// When the settings cannot be, or the operating system has no random numbers.
pub async fn routes(
    shared: Shared,
    access: &Access,
    settings: ConsoleSettings,
    tasks: &Tasks,
) -> anyhow::Result<Router> {
    let provider = Provider::start(&settings.provider, shared.surroundings.clock.clone(), tasks).await?;
    settings.check(access.is_checked(), provider.is_some())?;
    let style: Arc<str> = format!("{}{STYLE}", settings.style()).into();
    let icon: Arc<str> = settings.icon().into();
    let issuer = provider.as_ref().map(Provider::issuer);
    let sessions = Sessions::new(shared.pool.clone(), settings.console_session_hours, issuer);
    let sign_ins = SignIns::new(shared.pool.clone());
    let secret = Secret::generate()?;
    let console = Console { shared, access: access.clone(), sessions, sign_ins, provider, secret, settings };
    let pages = Router::new()
        .route("/console", get(overview::show))
        .route("/console/find", get(find::show))
        .route("/console/stuck", get(stuck::show))
        .route("/console/jobs", get(jobs::show))
        .route("/console/events/{id}", get(event::show).post(event::reveal))
        .route("/console/orders/{of}", get(story::show))
        .route("/console/returns/{id}", get(story::show_return))
        .route("/console/documents/{id}", get(pdf::show).post(pdf::open))
        .route("/console/processes", get(processes::show))
        .route("/console/schedules", get(schedules::show))
        .route("/console/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/console/webhooks/{id}", get(webhooks::show).post(webhooks::act))
        .route("/console/keys", get(keys::list).post(keys::create))
        .route("/console/keys/{id}", post(keys::act))
        .route("/console/audit", get(audit::show).post(audit::run))
        .route("/console/log", get(log::show))
        .route("/console/log.csv", get(log::csv))
        .route("/console/acts/{id}", get(outcome::show))
        .route("/console/act", post(act::act))
        .route("/console/bulk", get(bulk::list).post(bulk::begin))
        .route("/console/bulk/new", get(bulk::show_new))
        .route("/console/bulk/{id}", get(bulk::show))
        .route("/console/bulk/{id}/cancel", post(bulk::end))
        .route("/console/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/console/sign-in/provider", get(provider::start))
        .route("/console/sign-in/callback", get(provider::come_back))
        .route("/console/sign-out", post(sign_in::sign_out))
        .with_state(Arc::new(console))
        .layer(map_response(keep_private));
    let files = Router::new()
        .route("/console/style.css", get(move || async move { file("text/css; charset=utf-8", style.to_string()) }))
        .route("/console/icon.svg", get(move || async move { file("image/svg+xml", icon.to_string()) }))
        .route("/console/shortcuts.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT.to_owned()) }));
    Ok(access.close_to_others(pages.merge(files)))
}

async fn keep_private(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

fn file(kind: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text).into_response()
}
