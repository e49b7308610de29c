//! Who looks at a page.

use std::borrow::Cow;
use std::sync::Arc;

use access::{Caller, Secret};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use runtime::http::client_address;

use super::Console;
use super::document::encoded;
use super::refusal::{Answer, Refusal};

/// Holds the secret of the session.
pub(super) const SESSION: &str = "articurated_console";
/// Holds the name that a person without a key has given.
pub(super) const NAME: &str = "articurated_name";

/// Who looks at a page.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    /// What they are called in the operator log, as far as it is known.
    pub(super) name: Option<String>,
    /// The secret that ties forms to the session, or with `AUTH=none` to this process.
    secret: Secret,
}

impl Visitor {
    /// Whether this visitor may do what this operation of the API does.
    pub(super) fn may(&self, method: &str, route: &str) -> bool {
        self.caller.may(method, &format!("/api/v1/ops/{route}"))
    }

    /// # Errors
    /// 403 for a visitor who may not read with this operation of the API.
    pub(super) fn must_read(&self, route: &str) -> Answer<()> {
        self.must("GET", route)
    }

    /// # Errors
    /// 403 for a visitor who may not do what this operation of the API does.
    pub(super) fn must(&self, method: &str, route: &str) -> Answer<()> {
        if self.may(method, route) {
            return Ok(());
        }
        let role = match &self.caller {
            Caller::Known(principal) => principal.role.as_str(),
            Caller::Unchecked => "anonymous",
        };
        let message = format!("the role {role} may not {method} /api/v1/ops/{route}, so it may not do the same here");
        Err(Refusal::new(StatusCode::FORBIDDEN, "FORBIDDEN", message))
    }

    /// The token that each form carries.
    pub(super) fn form_token(&self) -> String {
        self.secret.form_token()
    }

    /// # Errors
    /// 403 for a form that does not carry the token of this visitor.
    pub(super) fn must_send(&self, form_token: &str) -> Answer<()> {
        if self.secret.is_of_form(form_token) {
            return Ok(());
        }
        let message = "the form is of another session; go back, load the page again, and send it once more";
        Err(Refusal::new(StatusCode::FORBIDDEN, "FORM_EXPIRED", message))
    }

    /// Whether they have come in with a key.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.caller, Caller::Known(_))
    }
}

impl FromRequestParts<Arc<Console>> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Answer<Self> {
        if !console.access.is_checked() {
            let (name, secret) = (cookie(&parts.headers, NAME), console.secret.clone());
            return Ok(Self { caller: Caller::Unchecked, name, secret });
        }
        let secret = cookie(&parts.headers, SESSION).and_then(|text| Secret::parse(&text));
        let secret = secret.ok_or_else(|| sign_in_and_come_back(parts))?;
        let address = client_address(&parts.extensions);
        console.access.check_address(address).map_err(Refusal::too_many)?;
        let found = console.sessions.find(&secret, address).await?;
        console.access.count(found.as_ref(), address).map_err(Refusal::too_many)?;
        let principal = found.ok_or_else(|| sign_in_and_come_back(parts))?;
        let name = Some(principal.name.clone());
        Ok(Self { caller: Caller::Known(Arc::new(principal)), name, secret })
    }
}

/// Only what shows something can be come back to.
fn sign_in_and_come_back(parts: &Parts) -> Refusal {
    let back = match parts.method {
        Method::GET => parts.uri.path_and_query().map_or("/console", |path| path.as_str()),
        _ => "/console",
    };
    Refusal::SignIn { back: encoded(back).to_string() }
}

/// The value of a cookie, decoded.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let name = full_name(name, headers);
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(key, _)| *key == name)?.1;
    percent_decode_str(value).decode_utf8().ok().map(Cow::into_owned).filter(|text| !text.is_empty())
}

/// A cookie that no script and no other site's page gets at.
pub(super) fn set_cookie(name: &str, value: &str, headers: &HeaderMap) -> String {
    let (name, value) = (full_name(name, headers), encoded(value));
    let secure = if is_on_this_machine(headers) { "" } else { "; Secure" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// Browsers take a name that begins like that only over HTTPS and from this host itself: no other host of the domain can plant it.
fn full_name(name: &str, headers: &HeaderMap) -> String {
    if is_on_this_machine(headers) { name.to_owned() } else { format!("__Host-{name}") }
}

/// Cookies are sent over plain HTTP to this machine only, and never where a proxy is in between: a proxy may ask for this machine's name.
fn is_on_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let proxies = ["forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];
    runtime::config::is_this_machine(host) && !proxies.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_cookie_is_read_back() {
        let set = set_cookie(NAME, "मीरा; Path=/", &HeaderMap::new());
        assert!(set.starts_with("__Host-"), "{set}");
        let pair = set.split_once(';').expect("a pair").0.to_owned();
        let headers =
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(format!("a=b; {pair}")).expect("text"))]);
        assert_eq!(cookie(&headers, NAME).as_deref(), Some("मीरा; Path=/"));
        assert_eq!(cookie(&headers, SESSION), None);
        assert_eq!(
            cookie(&with(header::COOKIE, "articurated_name=x"), NAME),
            None,
            "another host of the domain may have set it"
        );
    }

    #[test]
    fn a_cookie_crosses_no_network_in_the_clear() {
        for (host, secure) in
            [("127.0.0.1:8000", false), ("localhost", false), ("[::1]:8003", false), ("ops.example.in", true)]
        {
            let set = set_cookie(SESSION, "x", &with(header::HOST, host));
            assert_eq!(set.contains("; Secure"), secure, "{host}");
            assert!(set.contains("; HttpOnly; SameSite=Strict"), "{set}");
        }
        let mut through_a_proxy = with(header::HOST, "127.0.0.1:8003");
        through_a_proxy.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        assert!(set_cookie(SESSION, "x", &through_a_proxy).contains("; Secure"));
    }
}
