//! A call of the payment gateway. A text that begins with `!` is a body that the gateway has signed now. Any other is a message id, a
//! time and a signature, a line each, and a body: no secret has signed it.
#![no_main]

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use standardwebhooks::Webhook;

static SECRET: LazyLock<Webhook> =
    LazyLock::new(|| Webhook::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret"));

fn headers(values: [&[u8]; 3]) -> Option<HeaderMap> {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(HeaderName::from_static);
    names.into_iter().zip(values).map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?))).collect()
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(body) = bytes.strip_prefix(b"!") {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let Ok(signature) = SECRET.sign("msg_1", now.cast_signed(), body) else { return };
        let headers = headers([b"msg_1", now.to_string().as_bytes(), signature.as_bytes()]).expect("ASCII");
        let said = workers::decoders::callback(&SECRET, &headers, body);
        assert_eq!(said, serde_json::from_slice(body).ok(), "a signature opens the body");
        return;
    }
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (values, body) = ([next(), next(), next()], next());
    if let Some(headers) = headers(values) {
        assert_eq!(workers::decoders::callback(&SECRET, &headers, body), None, "no secret has signed it");
    }
});
