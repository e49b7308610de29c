//! Asks the identity provider. No redirect is followed, and no answer is read without an end.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect};
use runtime::config::is_this_machine;
use tokio::time::timeout;

/// How long one question may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const LONGEST: usize = 256 * 1024;

/// # Errors
/// When TLS cannot be set up.
pub(crate) fn client() -> anyhow::Result<Client> {
    runtime::tls::install();
    Ok(Client::builder().redirect(redirect::Policy::none()).build()?)
}

/// What a provider says that came over an open network may be an attacker's.
///
/// # Errors
/// For an address that is neither `https` nor `http` on this machine.
pub(crate) fn checked(url: Url, what: &str) -> anyhow::Result<Url> {
    let here = url.host_str().is_some_and(is_this_machine);
    ensure!(
        url.scheme() == "https" || (url.scheme() == "http" && here),
        "{what} must begin with https:// (http:// only for this machine)"
    );
    Ok(url)
}

/// The text at an address.
///
/// # Errors
/// When there is no answer in time, or another one than 200.
pub(crate) async fn text(url: Url) -> anyhow::Result<String> {
    match ask(client()?.get(url)).await? {
        (StatusCode::OK, text) => Ok(text),
        (status, _) => bail!("answered {status}"),
    }
}

/// The answer to a request, with its status.
///
/// # Errors
/// When there is none in time, or it is too long.
pub(crate) async fn ask(request: RequestBuilder) -> anyhow::Result<(StatusCode, String)> {
    timeout(WITHIN, answer(request)).await.with_context(|| format!("no answer within {WITHIN:?}"))?
}

async fn answer(request: RequestBuilder) -> anyhow::Result<(StatusCode, String)> {
    let mut answer = request.send().await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        ensure!(bytes.len() + chunk.len() <= LONGEST, "longer than {LONGEST} bytes");
        bytes.extend_from_slice(&chunk);
    }
    Ok((answer.status(), String::from_utf8(bytes).context("not UTF-8")?))
}
