//! What the browser keeps for the console.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

use super::document::encoded;

/// Holds the secret of the session.
pub(super) const SESSION: &str = "articurated_console";
/// Holds the secret of a sign-in at the identity provider that is under way.
pub(super) const SIGN_IN: &str = "articurated_sign_in";
/// Holds the name that a person without a key has given.
pub(super) const NAME: &str = "articurated_name";

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
    let (sent_name, value) = (full_name(name, headers), encoded(value));
    let secure = if is_on_this_machine(headers) { "" } else { "; Secure" };
    // The provider sends the browser back, which is a step from its site to ours.
    let site = if name == SIGN_IN { "Lax; Max-Age=600" } else { "Strict" };
    format!("{sent_name}={value}; Path=/; HttpOnly; SameSite={site}{secure}")
}

/// Makes the browser forget a cookie.
pub(super) fn forget_cookie(name: &str, headers: &HeaderMap) -> String {
    // The last of several attributes of one name counts (RFC 6265, 5.3).
    format!("{}; Max-Age=0", set_cookie(name, "", headers))
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
            let set = set_cookie(SIGN_IN, "x", &with(header::HOST, host));
            assert!(set.contains("; HttpOnly; SameSite=Lax; Max-Age=600"), "{set}");
            assert_eq!((set.contains("; Secure"), set.starts_with("__Host-")), (secure, secure), "{set}");
        }
        let mut through_a_proxy = with(header::HOST, "127.0.0.1:8003");
        through_a_proxy.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        assert!(set_cookie(SESSION, "x", &through_a_proxy).contains("; Secure"));
    }
}
