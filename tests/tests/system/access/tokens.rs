//! Tokens of an identity provider, which is a file or a server here.

use std::path::Path;
use std::sync::{Arc, Mutex};

use access::Role;
use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use runtime::Clock;
use serde_json::{Value, json};
use tests::waiting::SOON;
use tests::{System, eventually};

use super::{ASHA, Client, RAVI, guarded};

const ISSUER: &str = "https://login.example.com/";
const AUDIENCE: &str = "articurated";
/// An RSA key that only these tests have, as PKCS #8 in base64.
const RSA: &str = include_str!("rsa.txt");

/// A key of the provider.
enum Signer {
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    fn rs256() -> Self {
        let key = STANDARD.decode(RSA.replace('\n', "")).expect("base64");
        Self::Rs256(RsaKeyPair::from_pkcs8(&key).expect("a key"))
    }

    fn es256() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        Self::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).expect("a key"))
    }

    fn ed_dsa() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::EdDsa(Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key"))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                signature
            }
            Self::Es256(key) => key.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Self::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self {
            Self::Rs256(key) => {
                let public: ring::rsa::PublicKeyComponents<Vec<u8>> = key.public().into();
                json!({ "kty": "RSA", "n": base64(&public.n), "e": base64(&public.e) })
            }
            Self::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": base64(&point[1..33]), "y": base64(&point[33..]) })
            }
            Self::EdDsa(key) => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key().as_ref()) }),
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm(), "kid": id, "typ": "JWT" }), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())))
    }
}

fn claims(role: Role) -> Value {
    let now = Clock::system().now().timestamp();
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "auth0|asha", "exp": now + 600, "nbf": now - 10, "iat": now, "role": role.as_str(),
            "customer_id": ASHA })
}

fn with(mut claims: Value, member: &str, value: Value) -> Value {
    claims[member] = value;
    claims
}

async fn trusting(file: &Path) -> Result<System> {
    guarded(|options| {
        options.access.tokens.jwt_issuer = Some(ISSUER.to_owned());
        options.access.tokens.jwt_audience = Some(AUDIENCE.to_owned());
        options.access.tokens.jwks_file = Some(file.to_owned());
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_token_that_the_provider_signed_for_us_and_now_is_let_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("keys.json");
    let (rsa, ec, ed) = (Signer::rs256(), Signer::es256(), Signer::ed_dsa());
    std::fs::write(&file, json!({ "keys": [rsa.jwk("rsa"), ec.jwk("ec"), ed.jwk("ed")] }).to_string())?;
    let system = trusting(&file).await?;
    let try_it = async |token: String| Client { system: &system, credentials: token }.get("/orders").await;
    for (signer, id) in [(&rsa, "rsa"), (&ec, "ec"), (&ed, "ed")] {
        // A second time from memory.
        for _ in 0..2 {
            try_it(signer.token(id, &claims(Role::Staff))).await?.expect(200);
        }
    }
    let now = Clock::system().now().timestamp();
    let good = claims(Role::Staff);
    // Clocks may differ by a minute.
    try_it(ec.token("ec", &with(good.clone(), "exp", json!(now - 30)))).await?.expect(200);
    try_it(ec.token("ec", &with(good.clone(), "nbf", json!(now + 30)))).await?.expect(200);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none" })), part(&good));
    let public = URL_SAFE_NO_PAD.decode(rsa.jwk("rsa")["n"].as_str().context("n")?)?;
    let hmac_text = format!("{}.{}", part(&json!({ "alg": "HS256", "kid": "rsa" })), part(&good));
    let mac = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public), hmac_text.as_bytes());
    let confused = format!("{hmac_text}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()));
    let mut changed = ec.token("ec", &good);
    changed.truncate(changed.len() - 4);
    changed.push_str("AAAA");
    let without = |member: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(member);
        ec.token("ec", &claims)
    };
    for (why, token) in [
        ("not signed", unsigned),
        ("signed with the public key", confused),
        ("another signature", changed),
        ("another key's name", ec.token("ed", &good)),
        ("another key", Signer::es256().token("ec", &good)),
        ("an unknown key", Signer::es256().token("new", &good)),
        ("another algorithm than the key's", ec.token_with(&json!({ "alg": "RS256", "kid": "ec" }), &good)),
        ("expired", ec.token("ec", &with(good.clone(), "exp", json!(now - 61)))),
        ("not valid yet", ec.token("ec", &with(good.clone(), "nbf", json!(now + 90)))),
        ("another issuer", ec.token("ec", &with(good.clone(), "iss", json!("https://evil.example.com/")))),
        ("another audience", ec.token("ec", &with(good.clone(), "aud", json!("billing")))),
        ("no expiry", without("exp")),
        ("no audience", without("aud")),
        ("no issuer", without("iss")),
        ("no subject", without("sub")),
        ("an expiry of another type", ec.token("ec", &with(good.clone(), "exp", json!("tomorrow")))),
        ("a start of another type", ec.token("ec", &with(good.clone(), "nbf", json!("2036-01-01")))),
        ("no role", without("role")),
        ("a role that we do not have", ec.token("ec", &with(good.clone(), "role", json!("king")))),
        ("several roles", ec.token("ec", &with(good.clone(), "role", json!(["staff", "admin"])))),
        ("a customer without an id", {
            let mut claims = claims(Role::Customer);
            claims.as_object_mut().context("an object")?.remove("customer_id");
            ec.token("ec", &claims)
        }),
        ("a subject that is too long", ec.token("ec", &with(good.clone(), "sub", json!("s".repeat(65))))),
        ("too long", ec.token("ec", &with(good.clone(), "more", json!("x".repeat(9_000))))),
    ] {
        let answer = try_it(token).await?;
        assert_eq!(answer.status, 401, "{why}: {}", answer.text());
    }
    let roles = with(good.clone(), "role", json!(["offline_access", "staff"]));
    try_it(ec.token("ec", &roles)).await?.expect(200);
    system.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_with_a_token_sees_its_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("keys.json");
    let ed = Signer::ed_dsa();
    std::fs::write(&file, json!({ "keys": [ed.jwk("ed")] }).to_string())?;
    let system = trusting(&file).await?;
    let of = |customer: &str| {
        let claims = with(with(claims(Role::Customer), "customer_id", json!(customer)), "sub", json!(customer));
        Client { system: &system, credentials: ed.token("ed", &claims) }
    };
    let (asha, ravi) = (of(ASHA), of(RAVI));
    let body = json!({ "customer_id": ASHA, "items": [{ "sku": "A", "title": "Lamp", "quantity": 1, "unit_price_minor": 9_900 }] });
    asha.post("/orders", &body).await?.refused(403, "FORBIDDEN");
    let staff = Client { system: &system, credentials: ed.token("ed", &claims(Role::Staff)) };
    let order = staff.post("/orders", &body).await?.expect(201).json();
    let path = format!("/orders/{}", order["id"].as_str().context("an id")?);
    eventually("it can be read", SOON, async || Ok((asha.get(&path).await?.status == 200).then_some(()))).await?;
    ravi.get(&path).await?.refused(404, "ORDER_NOT_FOUND");
    ravi.post(&format!("{path}/cancel"), &json!({})).await?.refused(404, "ORDER_NOT_FOUND");
    asha.post(&format!("{path}/cancel"), &json!({})).await?.expect(200);
    system.finish().await
}

/// The provider replaces its key while the service runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_of_the_provider_is_found_and_the_old_one_forgotten() -> Result<()> {
    let (old, new) = (Signer::es256(), Signer::es256());
    let published = Arc::new(Mutex::new(json!({ "keys": [old.jwk("old")] })));
    let keys = published.clone();
    let router =
        Router::new().route("/keys", get(move || async move { axum::Json(keys.lock().expect("keys").clone()) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/keys", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let system = guarded(|options| {
        options.access.tokens.jwt_issuer = Some(ISSUER.to_owned());
        options.access.tokens.jwt_audience = Some(AUDIENCE.to_owned());
        options.access.tokens.jwks_url = url.parse().ok();
    })
    .await?;
    let status = async |signer: &Signer, id: &str| {
        let token = signer.token(id, &claims(Role::Staff));
        anyhow::Ok(Client { system: &system, credentials: token }.get("/orders").await?.status)
    };
    assert_eq!((status(&old, "old").await?, status(&new, "new").await?), (200, 401));
    *published.lock().expect("keys") = json!({ "keys": [new.jwk("new")] });
    eventually("the new key is read", SOON, async || Ok((status(&new, "new").await? == 200).then_some(()))).await?;
    assert_eq!(status(&old, "old").await?, 401, "a token that was verified before goes with its key");
    // It withdraws all of them. A token with an unknown key makes the service look.
    *published.lock().expect("keys") = json!({ "keys": [] });
    eventually("no token is accepted", SOON, async || {
        status(&old, "old").await?;
        Ok((status(&new, "new").await? == 503).then_some(()))
    })
    .await?;
    server.abort();
    system.finish().await
}
