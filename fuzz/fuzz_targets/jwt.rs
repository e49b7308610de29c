//! JSON Web Tokens. A text that begins with `!` is a header and, in the next line, claims: both are signed here with the issuer's key, so
//! that the claims are read. Any other text is a token as it came, which no key has signed.
#![no_main]

use std::sync::LazyLock;

use access::Role;
use access::decoders::TokenReader;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair};

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes"));

static READER: LazyLock<TokenReader> = LazyLock::new(|| {
    let public = URL_SAFE_NO_PAD.encode(KEY.public_key().as_ref());
    let keys =
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"one","use":"sig","alg":"EdDSA","x":"{public}"}}]}}"#);
    TokenReader::new(&keys, "https://issuer.example", "articurated").expect("a key set")
});

fn signed(header: &str, claims: &str) -> String {
    let said = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(KEY.sign(said.as_bytes()).as_ref());
    format!("{said}.{signature}")
}

fuzz_target!(|text: &str| {
    let Some((header, claims)) = text.strip_prefix('!').and_then(|text| text.split_once('\n')) else {
        assert_eq!(READER.principal(text), None, "no secret has signed it");
        return;
    };
    let Some(principal) = READER.principal(&signed(header, claims)) else { return };
    assert!((1..=64).contains(&principal.name.chars().count()), "{principal:?}");
    assert!(!principal.name.chars().any(contracts::is_control), "{principal:?}");
    assert_eq!(principal.role == Role::Customer, principal.customer_id.is_some(), "{principal:?}");
});
