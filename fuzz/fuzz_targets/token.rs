//! Consistency tokens: the first line is the header, the second the parameter. Unsigned ones are refused; those that begin with `!` are
//! signed here, so that what follows the signature is reached.
#![no_main]

use access::ConsistencyKey;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ring::hmac;

const KEY: [u8; 32] = [7; 32];

fn signed(said: &str) -> String {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &KEY), said.as_bytes());
    let signature: String = mac.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{said}.{signature}")
}

fuzz_target!(|lines: &str| {
    let key = ConsistencyKey::of(&KEY);
    let (header, parameter) = lines.split_once('\n').unwrap_or((lines, ""));
    let token = |text: &str| text.strip_prefix('!').map_or_else(|| text.to_owned(), signed);
    let tokens = |text: &str| text.split(',').map(token).collect::<Vec<_>>().join(",");
    let (sent, parameter) = (tokens(header), tokens(parameter));
    for text in sent.split(',').chain(parameter.split(',')) {
        if let Some(read) = key.read(text) {
            assert!(read.version >= 1 && !read.entity.contains(':'), "{read:?}");
        }
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(sent.as_bytes()) {
        headers.insert(contracts::CONSISTENCY_TOKEN_HEADER, value);
    }
    let waits_for = query::decoders::consistency_tokens(&key, &headers, Some(&parameter));
    let is_signed = lines.contains('!') || lines.split([',', '\n']).any(|text| key.read(text.trim()).is_some());
    assert!(is_signed || waits_for.unwrap_or_default() == 0, "only the holder of the key makes tokens: {lines:?}");
    assert!(waits_for.unwrap_or_default() <= 20);
});
