//! Sign-in of people at an identity provider: the authorization code flow of OpenID Connect Core 1.0 with PKCE (RFC 7636).
//!
//! Discovery, the code and the ID token are a few requests over what the crate has for tokens of the API: `openidconnect` would bring two
//! more implementations of each signature, one of which (`rsa`) has a known leak (RUSTSEC-2023-0071).
//!
//! The browser keeps one [`Secret`] for a sign-in. `state`, `nonce` and the code verifier are made of it, so what comes back belongs to
//! this browser or is refused.

mod settings;

use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contracts::{is_control, is_invisible};
use jsonwebtoken::Validation;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{StatusCode, header};
use runtime::{Clock, Tasks};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::discovery::{Discovery, Metadata};
use crate::jwks::{Jwks, Source};
use crate::principal::{Principal, Role};
use crate::secret::Secret;
use crate::token::{self, NotSigned, SKEW, check_subject, claim};
use crate::{fetch, ring_provider};

pub use settings::ProviderSettings;

/// How old an ID token may be, in seconds: it was made for a sign-in that is under way.
const OLDEST: u64 = 600;
/// The longest name that is kept, in characters. Longer ones are cut.
const LONGEST_NAME: usize = 60;
/// Values of the claim of the role that a refusal shows.
const SHOWN: usize = 10;

const STATE: &str = "state";
const NONCE: &str = "nonce";
const VERIFIER: &str = "verifier";

/// The identity provider at which people sign in.
#[derive(Debug)]
pub struct Provider {
    client_id: String,
    client_secret: SecretString,
    console: String,
    scopes: String,
    role_claim: String,
    roles: Vec<(String, Role)>,
    name_claim: String,
    discovery: Arc<Discovery>,
    jwks: Arc<Jwks>,
    validation: Validation,
    clock: Clock,
}

/// A person that the provider has signed in, with a role of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who it is: unique at the issuer, and never given to another person. At most 64 characters.
    pub subject: String,
    /// What they are called. At most 60 characters.
    pub name: Option<String>,
    /// Never a customer.
    pub role: Role,
}

impl Person {
    /// The name is for the reader of the operator log, and several persons may have the same. The subject says who it was.
    pub(crate) fn principal(&self) -> Principal {
        let Self { subject, name, role } = self;
        let actor = name.as_ref().map_or_else(|| subject.clone(), |name| format!("{name} ({subject})"));
        Principal::new("person", actor, *role, None)
    }
}

/// Why a person is not signed in, in words for that person.
#[derive(Debug, thiserror::Error)]
pub enum NotSignedIn {
    #[error("the identity provider cannot be reached")]
    Unavailable(#[source] anyhow::Error),
    /// The error code of the provider.
    #[error("the identity provider did not accept the code of this sign-in ({0})")]
    CodeRefused(String),
    #[error("the ID token is refused: {0}")]
    InvalidToken(String),
    #[error("the claim {claim} of the ID token {found}")]
    NoRole { claim: String, found: String },
}

impl NotSignedIn {
    fn invalid(reason: impl Into<String>) -> Self {
        Self::InvalidToken(reason.into())
    }
}

/// What the provider answers to a code.
#[derive(Deserialize)]
struct Exchanged {
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct ExchangeError {
    error: String,
}

/// What an ID token says. A claim of another type makes it invalid.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    iat: u64,
    nonce: Option<String>,
    azp: Option<String>,
    aud: Value,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Provider {
    /// `None`: no provider is set. One that is away is asked again and again until it answers.
    ///
    /// # Errors
    /// When a setting is missing or cannot be.
    pub async fn start(settings: &ProviderSettings, clock: Clock, tasks: &Tasks) -> anyhow::Result<Option<Self>> {
        let Some(checked) = settings.checked()? else { return Ok(None) };
        ring_provider::install();
        let discovery = Arc::new(checked.discovery);
        let validation = token::validation(&discovery.issuer, &checked.client_id);
        let jwks = Jwks::start(Source::Issuer(discovery.clone()), tasks).await.context("the keys of OIDC_ISSUER")?;
        Ok(Some(Self {
            client_id: checked.client_id,
            client_secret: checked.client_secret,
            console: checked.console,
            scopes: checked.scopes,
            role_claim: checked.role_claim,
            roles: checked.roles,
            name_claim: checked.name_claim,
            discovery,
            jwks,
            validation,
            clock,
        }))
    }

    pub fn issuer(&self) -> &str {
        &self.discovery.issuer
    }

    /// The address of the console, without a slash at its end.
    pub fn console(&self) -> &str {
        &self.console
    }

    /// Whether the provider has said where it signs people in.
    pub fn is_known(&self) -> bool {
        self.discovery.known().is_some()
    }

    fn callback(&self) -> String {
        format!("{}/sign-in/callback", self.console)
    }

    /// Where the browser with this secret goes to sign in. `None`: the provider has not answered yet.
    pub fn authorization(&self, secret: &Secret) -> Option<String> {
        let mut url = self.discovery.known()?.authorization_endpoint.clone();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(secret.derived(VERIFIER)));
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.callback()),
            ("scope", &self.scopes),
            ("state", &secret.derived(STATE)),
            ("nonce", &secret.derived(NONCE)),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        Some(url.into())
    }

    /// Whether what comes back belongs to the browser with this secret.
    pub fn is_state_of(&self, secret: &Secret, state: &str) -> bool {
        secret.is_derived(STATE, state)
    }

    /// Where people sign out of the provider itself, if it has such a page. It sends them back to the console.
    pub fn end_session(&self) -> Option<String> {
        let mut url = self.discovery.known()?.end_session_endpoint.clone()?;
        let back = format!("{}/sign-in", self.console);
        url.query_pairs_mut().extend_pairs([("client_id", &*self.client_id), ("post_logout_redirect_uri", &back)]);
        Some(url.into())
    }

    /// The person that the provider has signed in with this code, in the browser with this secret.
    pub async fn person(&self, secret: &Secret, code: &str) -> Result<Person, NotSignedIn> {
        let metadata = self.discovery.known().context("it has not answered yet").map_err(NotSignedIn::Unavailable)?;
        let token = self.exchange(&metadata, secret, code).await?;
        let claims = self.verify(&token).await?;
        self.check(&claims, secret)?;
        self.admit(claims)
    }

    /// The ID token for a code.
    async fn exchange(&self, metadata: &Metadata, secret: &Secret, code: &str) -> Result<String, NotSignedIn> {
        let (callback, verifier) = (self.callback(), secret.derived(VERIFIER));
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &callback),
            ("code_verifier", &verifier),
        ];
        let mut request = fetch::client().map_err(NotSignedIn::Unavailable)?.post(metadata.token_endpoint.clone());
        if metadata.takes_secret_in_body {
            fields.extend([("client_id", &*self.client_id), ("client_secret", self.client_secret.expose_secret())]);
        } else {
            // RFC 6749, 2.3.1.
            let (id, secret) = (encoded(&self.client_id), encoded(self.client_secret.expose_secret()));
            request = request.basic_auth(id, Some(secret));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(fields.join("&"));
        let (status, text) = fetch::ask(request).await.map_err(NotSignedIn::Unavailable)?;
        match status {
            StatusCode::OK => {
                let answer = serde_json::from_str::<Exchanged>(&text).ok().and_then(|answer| answer.id_token);
                answer.ok_or_else(|| NotSignedIn::invalid("the provider has sent none"))
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let error = serde_json::from_str(&text).map(|ExchangeError { error }| error);
                Err(NotSignedIn::CodeRefused(shown(&error.unwrap_or_else(|_| status.as_u16().to_string()))))
            }
            _ => Err(NotSignedIn::Unavailable(anyhow::anyhow!("{} answered {status}", metadata.token_endpoint))),
        }
    }

    /// What the token says. The keys are read again for one that the present ones did not sign: the provider may have new ones.
    async fn verify(&self, token: &str) -> Result<Claims, NotSignedIn> {
        let signed = || token::signed::<Claims>(token, &self.jwks.current(), &self.validation);
        let claims = match signed() {
            Err(NotSigned::UnknownKey | NotSigned::WrongSignature) => {
                self.jwks.read().await.map_err(NotSignedIn::Unavailable)?;
                signed()
            }
            claims => claims,
        };
        claims.map_err(|error| NotSignedIn::invalid(error.to_string()))
    }

    /// OpenID Connect Core 1.0, 3.1.3.7, beyond what is true for every token.
    fn check(&self, claims: &Claims, secret: &Secret) -> Result<(), NotSignedIn> {
        let now = u64::try_from(self.clock.now().timestamp()).unwrap_or_default();
        if !claims.nonce.as_deref().is_some_and(|nonce| secret.is_derived(NONCE, nonce)) {
            return Err(NotSignedIn::invalid("nonce is of another sign-in"));
        }
        let is_for_several = claims.aud.as_array().is_some_and(|audiences| audiences.len() > 1);
        let is_for_us = claims.azp.as_ref().map_or(!is_for_several, |azp| *azp == self.client_id);
        if !is_for_us {
            return Err(NotSignedIn::invalid("azp is not this client"));
        }
        if claims.iat > now + SKEW || claims.iat + OLDEST + SKEW < now {
            return Err(NotSignedIn::invalid("iat is not the time of this sign-in"));
        }
        check_subject(&claims.sub).map_err(NotSignedIn::InvalidToken)
    }

    /// The first role of the settings that the person has.
    fn admit(&self, claims: Claims) -> Result<Person, NotSignedIn> {
        let value = claim(&claims.others, &self.role_claim);
        let values: Vec<&str> = match value {
            Some(Value::String(role)) => vec![role],
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let Some((_, role)) = self.roles.iter().find(|(mapped, _)| values.contains(&&**mapped)) else {
            let expected: Vec<_> = self.roles.iter().map(|(value, _)| value.as_str()).collect();
            let found: Vec<_> = values.iter().take(SHOWN).map(|value| shown(value)).collect();
            let found = match value {
                None => "is missing".to_owned(),
                Some(_) if found.is_empty() => "is no text and no list of texts".to_owned(),
                Some(_) => format!("has {}, and none of {}", found.join(", "), expected.join(", ")),
            };
            return Err(NotSignedIn::NoRole { claim: self.role_claim.clone(), found });
        };
        let name = claim(&claims.others, &self.name_claim).and_then(Value::as_str).map(shown);
        Ok(Person { role: *role, name: name.filter(|name| !name.is_empty()), subject: claims.sub })
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A text of the provider as pages and logs can have it: without what cannot be seen, and not too long.
fn shown(text: &str) -> String {
    let seen: String = text.chars().filter(|letter| !is_control(*letter) && !is_invisible(*letter)).collect();
    seen.trim().chars().take(LONGEST_NAME).collect::<String>().trim_end().to_owned()
}
