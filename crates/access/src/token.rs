//! JSON Web Tokens (RFC 7519) of an identity provider.
//!
//! The algorithm is that of the provider's key, never the one that the token asks for, and only RS256, ES256 and `EdDSA` count: no shared
//! secrets, and no `none`.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use contracts::{CustomerId, is_control};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use reqwest::Url;
use runtime::{Clock, Tasks};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::fetch;
use crate::jwks::{Jwks, KeySet, Source};
use crate::principal::{Principal, Role};
use crate::ring_provider;

/// How much the clocks of the provider and of this machine may differ, in seconds.
pub(crate) const SKEW: u64 = 60;
/// The longest token that is looked at, in bytes. The servers of most providers stay below half of it.
pub(crate) const LONGEST: usize = 8 * 1024;
/// The longest name of an actor.
const LONGEST_NAME: usize = 64;
/// Tokens that were verified are remembered: a signature costs more than the rest of a request.
const REMEMBERED: usize = 10_000;

/// Which tokens are accepted.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TokenSettings {
    /// The issuer of tokens (`iss`), exactly. Unset: no tokens are accepted.
    #[arg(long, env = "JWT_ISSUER")]
    pub jwt_issuer: Option<String>,
    /// The audience of tokens (`aud`): tokens for other services are refused.
    #[arg(long, env = "JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,
    /// Where the issuer publishes its keys. `https`, or `http` on this machine.
    #[arg(long, env = "JWKS_URL")]
    pub jwks_url: Option<Url>,
    /// A file with the issuer's keys, instead.
    #[arg(long, env = "JWKS_FILE")]
    pub jwks_file: Option<PathBuf>,
    /// The claim with the role: its name, or a JSON pointer, as `/realm_access/roles`. A text or a list with one of our roles.
    #[arg(long, env = "JWT_ROLE_CLAIM", default_value = "role")]
    pub jwt_role_claim: Option<String>,
    /// The claim with the id of the customer.
    #[arg(long, env = "JWT_CUSTOMER_CLAIM", default_value = "customer_id")]
    pub jwt_customer_claim: Option<String>,
}

/// What a token says, as far as it is looked at. A claim of another type makes the token invalid.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "exp")]
    expires_at: u64,
    #[serde(rename = "nbf")]
    _not_before: Option<u64>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Why a token is refused, in words for its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not valid.
    Invalid(String),
    /// The provider's keys are not read yet.
    NoKeys,
}

impl Refused {
    fn because(reason: impl fmt::Display) -> Self {
        Self::Invalid(reason.to_string())
    }
}

/// Checks tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    jwks: Arc<Jwks>,
    validation: Validation,
    role_claim: String,
    customer_claim: String,
    clock: Clock,
    verified: Mutex<Verified>,
}

/// Tokens that were verified with the keys of this set.
#[derive(Debug, Default)]
struct Verified {
    keys: Arc<KeySet>,
    tokens: HashMap<[u8; 32], (Arc<Principal>, u64)>,
}

impl TokenSettings {
    /// `None`: no tokens are accepted.
    fn source(&self) -> anyhow::Result<Option<(String, String, Source)>> {
        let Self { jwt_issuer, jwt_audience, jwks_url, jwks_file, .. } = self;
        let source = match (jwks_url, jwks_file) {
            (None, None) => None,
            (Some(url), None) => Some(Source::Url(fetch::checked(url.clone(), "JWKS_URL")?)),
            (None, Some(path)) => Some(Source::File(path.clone())),
            (Some(_), Some(_)) => bail!("JWKS_URL and JWKS_FILE are both set; set one of them"),
        };
        match (jwt_issuer, jwt_audience, source) {
            (None, None, None) => Ok(None),
            (Some(issuer), Some(audience), Some(source)) => Ok(Some((issuer.clone(), audience.clone(), source))),
            _ => bail!("tokens need JWT_ISSUER, JWT_AUDIENCE, and JWKS_URL or JWKS_FILE: set all three, or none"),
        }
    }
}

impl Tokens {
    /// `None`: no tokens are accepted.
    pub(crate) async fn start(settings: &TokenSettings, clock: Clock, tasks: &Tasks) -> anyhow::Result<Option<Self>> {
        let Some((issuer, audience, source)) = settings.source()? else { return Ok(None) };
        ring_provider::install();
        let jwks = Jwks::start(source, tasks).await.context("the keys of JWT_ISSUER")?;
        Ok(Some(Self::new(settings, jwks, validation(&issuer, &audience), clock)))
    }

    fn new(settings: &TokenSettings, jwks: Arc<Jwks>, validation: Validation, clock: Clock) -> Self {
        let claim = |claim: &Option<String>, default: &str| claim.clone().unwrap_or_else(|| default.to_owned());
        Self {
            jwks,
            validation,
            role_claim: claim(&settings.jwt_role_claim, "role"),
            customer_claim: claim(&settings.jwt_customer_claim, "customer_id"),
            clock,
            verified: Mutex::default(),
        }
    }

    /// With the keys of this text, for ever.
    pub(crate) fn with_keys(keys: &str, issuer: &str, audience: &str) -> anyhow::Result<Self> {
        ring_provider::install();
        let jwks = Arc::new(Jwks::fixed(KeySet::parse(keys.to_owned())?));
        Ok(Self::new(&TokenSettings::default(), jwks, validation(issuer, audience), Clock::system()))
    }

    /// Whose token it is.
    pub(crate) fn principal(&self, token: &str) -> Result<Arc<Principal>, Refused> {
        if token.len() > LONGEST {
            return Err(Refused::because(format!("the token is longer than {LONGEST} bytes")));
        }
        let keys = self.jwks.current();
        if keys.is_empty() {
            return Err(Refused::NoKeys);
        }
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some(principal) = self.remembered(&hash, &keys) {
            return Ok(principal);
        }
        let (principal, expires) = self.verify(token, &keys)?;
        let principal = Arc::new(principal);
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&verified.keys, &keys) || verified.tokens.len() >= REMEMBERED {
            *verified = Verified { keys, tokens: HashMap::new() };
        }
        verified.tokens.insert(hash, (principal.clone(), expires));
        Ok(principal)
    }

    /// The principal of a token that these keys verified before.
    fn remembered(&self, hash: &[u8; 32], keys: &Arc<KeySet>) -> Option<Arc<Principal>> {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, expires) = verified.tokens.get(hash).filter(|_| Arc::ptr_eq(&verified.keys, keys))?;
        let now = u64::try_from(self.clock.now().timestamp()).unwrap_or_default();
        (now < expires + SKEW).then(|| principal.clone())
    }

    fn verify(&self, token: &str, keys: &KeySet) -> Result<(Principal, u64), Refused> {
        let claims: Claims = signed(token, keys, &self.validation).map_err(|why| {
            if why == NotSigned::UnknownKey {
                self.jwks.ask();
            }
            Refused::because(why)
        })?;
        Ok((self.read(&claims)?, claims.expires_at))
    }

    fn read(&self, claims: &Claims) -> Result<Principal, Refused> {
        check_subject(&claims.sub).map_err(Refused::because)?;
        let role = self.role(claims)?;
        let customer_id = match role {
            Role::Customer => Some(self.customer_id(claims)?),
            _ => None,
        };
        Ok(Principal::new("jwt", claims.sub.clone(), role, customer_id))
    }

    fn role(&self, claims: &Claims) -> Result<Role, Refused> {
        let named: Vec<&str> = match claim(&claims.others, &self.role_claim) {
            Some(Value::String(role)) => vec![role],
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let roles: Vec<Role> = named.iter().filter_map(|name| name.parse().ok()).collect();
        match roles[..] {
            [role] => Ok(role),
            [] => Err(Refused::because(format!("the claim {} has none of our roles", self.role_claim))),
            _ => Err(Refused::because(format!("the claim {} has several of our roles", self.role_claim))),
        }
    }

    fn customer_id(&self, claims: &Claims) -> Result<CustomerId, Refused> {
        let id = claim(&claims.others, &self.customer_claim).and_then(Value::as_str);
        let id = id.ok_or_else(|| Refused::because(format!("the claim {} is missing", self.customer_claim)))?;
        CustomerId::parse(id).map_err(|error| Refused::because(format!("the claim {}: {error}", self.customer_claim)))
    }
}

/// The subject becomes the name of an actor.
pub(crate) fn check_subject(subject: &str) -> Result<(), String> {
    let fits = (1..=LONGEST_NAME).contains(&subject.chars().count()) && !subject.chars().any(is_control);
    if fits { Ok(()) } else { Err(format!("sub must have 1 to {LONGEST_NAME} characters")) }
}

/// A claim by its name, or by a JSON pointer.
pub(crate) fn claim<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
    let Some(pointer) = name.strip_prefix('/') else { return claims.get(name) };
    // RFC 6901.
    let mut parts = pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
    let first = claims.get(&parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(&part))
}

/// What every token must say: who made it, for whom, about whom, and until when it counts.
pub(crate) fn validation(issuer: &str, audience: &str) -> Validation {
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = SKEW;
    validation
}

/// Why a token says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSigned {
    #[error("the issuer has no such key; if it is new, try again in a minute")]
    UnknownKey,
    #[error("the signature is wrong")]
    WrongSignature,
    #[error("{0}")]
    Invalid(String),
}

/// What a token says that one of these keys has signed.
pub(crate) fn signed<C: DeserializeOwned>(token: &str, keys: &KeySet, validation: &Validation) -> Result<C, NotSigned> {
    let header = decode_header(token).map_err(|_| NotSigned::Invalid("the token cannot be read".to_owned()))?;
    let key = keys.find(header.kid.as_deref()).ok_or(NotSigned::UnknownKey)?;
    let mut validation = validation.clone();
    validation.algorithms = vec![key.algorithm];
    decode::<C>(token, &key.key, &validation).map(|token| token.claims).map_err(|error| explained(error.kind()))
}

fn explained(kind: &ErrorKind) -> NotSigned {
    NotSigned::Invalid(match kind {
        ErrorKind::InvalidSignature => return NotSigned::WrongSignature,
        ErrorKind::ExpiredSignature => "the token has expired".to_owned(),
        ErrorKind::ImmatureSignature => "the token is not valid yet".to_owned(),
        ErrorKind::InvalidIssuer => "the token is of another issuer".to_owned(),
        ErrorKind::InvalidAudience => "the token is for another audience".to_owned(),
        ErrorKind::InvalidAlgorithm => "the token has another algorithm than its key".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) => format!("the claim {claim} is missing"),
        _ => "the token cannot be read".to_owned(),
    })
}
