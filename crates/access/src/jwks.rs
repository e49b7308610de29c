//! The public keys of the identity provider (RFC 7517), read from a file or an address. A background task reads them again; no request
//! to the API waits for that.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;
use runtime::Tasks;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::discovery::Discovery;
use crate::fetch;

/// How often the keys are read again.
const REFRESH: Duration = Duration::from_secs(300);
/// The shortest time between two reads. A token with an unknown key asks for one.
const AT_LEAST: Duration = Duration::from_secs(10);
/// For how long the keys of the last read count. A provider that was taken over may not answer any more.
const COUNT_FOR: Duration = Duration::from_secs(86_400);
/// How long one read may take.
const WITHIN: Duration = fetch::WITHIN;

/// Where the keys are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Url(Url),
    /// Where the provider says that they are.
    Issuer(Arc<Discovery>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
            Self::Issuer(discovery) => discovery.issuer.fmt(f),
        }
    }
}

/// A key, with the one algorithm it is for.
#[derive(Debug)]
pub(crate) struct PublicKey {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

/// One read of the keys.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    text: String,
    by_id: HashMap<String, PublicKey>,
    /// Of a set whose only key has no id.
    unnamed: Option<PublicKey>,
}

impl KeySet {
    /// A set without keys for signatures that we know is a set all the same: the provider has withdrawn them.
    ///
    /// # Errors
    /// When it is no key set.
    pub(crate) fn parse(text: String) -> anyhow::Result<Self> {
        let set: JwkSet = serde_json::from_str(&text).context("not a JSON Web Key Set")?;
        let (mut by_id, mut unnamed) = (HashMap::new(), Vec::new());
        for jwk in &set.keys {
            let Some(key) = public_key(jwk) else { continue };
            match &jwk.common.key_id {
                Some(id) => drop(by_id.insert(id.clone(), key)),
                None => unnamed.push(key),
            }
        }
        let unnamed = if by_id.is_empty() && unnamed.len() == 1 { unnamed.pop() } else { None };
        Ok(Self { text, by_id, unnamed })
    }

    pub(crate) fn find(&self, id: Option<&str>) -> Option<&PublicKey> {
        match id {
            Some(id) => self.by_id.get(id),
            None => self.unnamed.as_ref().or_else(|| self.by_id.values().next().filter(|_| self.by_id.len() == 1)),
        }
    }

    /// Whether no keys have been read yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.unnamed.is_none()
    }
}

/// `None`: for encryption, or of a kind that we do not accept.
fn public_key(jwk: &Jwk) -> Option<PublicKey> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let named = match jwk.common.key_algorithm {
        None => Some(algorithm),
        Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
        Some(KeyAlgorithm::ES256) => Some(Algorithm::ES256),
        Some(KeyAlgorithm::EdDSA) => Some(Algorithm::EdDSA),
        Some(_) => None,
    };
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    if named != Some(algorithm) || !for_signatures {
        return None;
    }
    DecodingKey::from_jwk(jwk).ok().map(|key| PublicKey { algorithm, key })
}

/// The keys as they were last read.
#[derive(Debug)]
pub(crate) struct Jwks {
    source: Source,
    current: RwLock<(Arc<KeySet>, Instant)>,
    asked: Notify,
}

impl Jwks {
    /// Reads the keys, and goes on reading them. A file must be there; an address may answer later, and until then no token is accepted.
    pub(crate) async fn start(source: Source, tasks: &Tasks) -> anyhow::Result<Arc<Self>> {
        let jwks =
            Arc::new(Self { source, current: RwLock::new((Arc::default(), Instant::now())), asked: Notify::new() });
        match jwks.read().await {
            Ok(()) => {}
            Err(error) if matches!(jwks.source, Source::File(_)) => {
                return Err(error.context("JWKS_FILE cannot be used"));
            }
            Err(error) => jwks.complain(&error),
        }
        tasks.spawn("keys of the identity provider", jwks.clone().run(tasks.shutdown.clone()));
        Ok(jwks)
    }

    /// These keys, which nothing reads again.
    pub(crate) fn fixed(keys: KeySet) -> Self {
        let current = RwLock::new((Arc::new(keys), Instant::now()));
        Self { source: Source::File(PathBuf::new()), current, asked: Notify::new() }
    }

    pub(crate) fn current(&self) -> Arc<KeySet> {
        let (keys, read_at) = &*self.current.read().unwrap_or_else(PoisonError::into_inner);
        if read_at.elapsed() < COUNT_FOR { keys.clone() } else { Arc::default() }
    }

    /// A token has a key that is not known. The provider may have a new one.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }

    async fn run(self: Arc<Self>, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            let pause = async {
                sleep(AT_LEAST).await;
                let soon = if self.current().is_empty() { Duration::ZERO } else { REFRESH.saturating_sub(AT_LEAST) };
                // Either ends the pause.
                let _ = timeout(soon, self.asked.notified()).await;
            };
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
            match shutdown.run_until_cancelled(self.read()).await {
                None => return Ok(()),
                Some(Ok(())) => {}
                Some(Err(error)) => self.complain(&error),
            }
        }
    }

    fn complain(&self, error: &anyhow::Error) {
        tracing::warn!(source = %self.source, error = format!("{error:#}"), "could not read the keys of the identity provider");
    }

    /// Reads the keys now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) async fn read(&self) -> anyhow::Result<()> {
        let text = timeout(WITHIN, self.text()).await.with_context(|| format!("no answer within {WITHIN:?}"))??;
        let known = self.current();
        let keys = if text == known.text { known } else { Arc::new(self.parse(text)?) };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (keys, Instant::now());
        Ok(())
    }

    fn parse(&self, text: String) -> anyhow::Result<KeySet> {
        let set = KeySet::parse(text)?;
        if set.is_empty() {
            tracing::warn!(source = %self.source, "the identity provider has no key for RS256, ES256 or EdDSA; no token is accepted");
        } else {
            tracing::info!(keys = set.by_id.len(), "read the keys of the identity provider");
        }
        Ok(set)
    }

    async fn text(&self) -> anyhow::Result<String> {
        match &self.source {
            Source::File(path) => {
                let bytes = tokio::fs::read(path).await.with_context(|| path.display().to_string())?;
                String::from_utf8(bytes).context("not UTF-8")
            }
            Source::Url(url) => fetch::text(url.clone()).await,
            Source::Issuer(discovery) => fetch::text(discovery.read().await?).await,
        }
    }
}
