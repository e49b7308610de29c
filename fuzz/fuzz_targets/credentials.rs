//! The header `Authorization`, and API keys.
#![no_main]

use access::api_key::ApiKey;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &[u8]| {
    let mut headers = HeaderMap::new();
    let values: Vec<_> =
        lines.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    for value in &values {
        headers.append(AUTHORIZATION, value.clone());
    }
    let Some(credentials) = access::decoders::credentials(&headers) else { return };
    assert_eq!(values.len(), 1, "of two headers neither counts");
    assert_eq!(credentials, credentials.trim());
    if let Some(key) = ApiKey::parse(credentials) {
        assert!(credentials.is_ascii() && credentials.len() == 62, "{credentials:?}");
        assert_eq!(key.prefix(), &credentials[8..18]);
    }
});
