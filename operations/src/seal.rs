//! Seals of the audit: what outside of the database says which rows the audit has.
//!
//! The chain shows that a row was changed. An intruder who may change the database can compute the chain again, too. So from time to time
//! what was added to the audit is sealed: the hashes of these rows are written to a store of files, with the root of their Merkle
//! tree in a statement that is signed. Each statement names the one before.
//!
//! - [`make`]: seals what was added since the last seal;
//! - `crate::audit` compares the seals with the audit.

pub mod make;
mod statement;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use runtime::{Clock, Tasks};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;

pub use statement::SealFile;
pub(crate) use statement::{SealedRow, Statement, link, rows_name, seal_name};

/// What a process that seals needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct SealSettings {
    /// The Ed25519 key with which the audit is sealed: 64 hexadecimal digits, as `ops seal --new-key` prints them. Unset: it is not
    /// sealed.
    #[arg(long, env = "SEAL_KEY", hide_env_values = true, value_parser = runtime::config::secret)]
    pub seal_key: Option<SecretString>,
    /// Minutes between two seals (1 to 10,080).
    #[arg(long, env = "SEAL_EVERY_MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub seal_every_minutes: u32,
}

impl Default for SealSettings {
    fn default() -> Self {
        Self { seal_key: None, seal_every_minutes: 60 }
    }
}

impl SealSettings {
    /// The key, if the audit is to be sealed.
    ///
    /// # Errors
    /// For what is no key.
    pub fn key(&self) -> Result<Option<SealKey>> {
        self.seal_key.as_ref().map(|key| SealKey::parse(key.expose_secret()).context("SEAL_KEY")).transpose()
    }

    pub fn every(&self) -> Duration {
        Duration::from_secs(60) * self.seal_every_minutes
    }
}

/// Seals the audit from time to time, where a key is given.
///
/// # Errors
/// When the key is no key, or there is no store for the seals.
pub async fn start(
    settings: &SealSettings,
    store_url: Option<&str>,
    pool: &PgPool,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<()> {
    let Some(key) = settings.key()? else { return Ok(()) };
    let url =
        store_url.context("SEAL_KEY is set, and SEAL_STORE_URL is not: name a folder or a bucket for the seals")?;
    let (store, every) = (storage::open(url).await?, settings.every());
    let (pool, clock, shutdown) = (pool.clone(), clock.clone(), tasks.shutdown.clone());
    tasks.spawn("seals", async move {
        let mut turns = tokio::time::interval(every);
        while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
            match make::seal(&pool, &store, &key, &clock).await {
                Ok(made) => tracing::info!(rows = made.rows, seals = made.seals, last = made.last, "audit sealed"),
                Err(error) => {
                    tracing::error!(alert = true, error = format!("{error:#}"), "the audit could not be sealed");
                }
            }
        }
    });
    Ok(())
}

/// Signs seals.
#[derive(Debug)]
pub struct SealKey(Ed25519KeyPair);

impl SealKey {
    /// # Errors
    /// When the text is not 32 bytes in hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self> {
        let seed = unhex(text.trim()).filter(|seed| seed.len() == 32);
        let seed = seed.context("a key is 64 hexadecimal digits: make one with `ops seal --new-key`")?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map(Self).map_err(|_| anyhow::anyhow!("this is no Ed25519 key"))
    }

    /// A new key, as text.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<SecretString> {
        Ok(hex(&access::api_key::random::<32>()?).into())
    }

    /// The key with which everyone can check the seals, in hexadecimal digits.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    fn sign(&self, statement: &str) -> String {
        hex(self.0.sign(statement.as_bytes()).as_ref())
    }
}

/// Whether the owner of this key has signed the statement.
pub(crate) fn is_signed(statement: &str, signature: &str, public_key: &str) -> bool {
    let (Some(signature), Some(public_key)) = (unhex(signature), unhex(public_key)) else { return false };
    UnparsedPublicKey::new(&ED25519, public_key).verify(statement.as_bytes(), &signature).is_ok()
}

/// A public key as operators give it.
///
/// # Errors
/// When it is not 32 bytes in hexadecimal digits.
pub(crate) fn public_key(text: &str) -> Result<String> {
    let key = unhex(text.trim()).filter(|key| key.len() == 32);
    ensure!(key.is_some(), "a public key is 64 hexadecimal digits, as `ops seal --new-key` prints them");
    Ok(text.trim().to_lowercase())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| Some(u8::try_from(c.to_digit(16)?).unwrap_or_default())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|two| two[0] * 16 + two[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_signed_by_one_key_only() {
        let text = SealKey::generate().expect("random numbers");
        let key = SealKey::parse(text.expose_secret()).expect("a key");
        let other = SealKey::parse(&"5a".repeat(32)).expect("a key");
        let signature = key.sign("all is well");
        assert!(is_signed("all is well", &signature, &key.public()));
        assert!(!is_signed("all is well ", &signature, &key.public()));
        assert!(!is_signed("all is well", &signature, &other.public()));
        assert!(!is_signed("all is well", "", &key.public()));
        for text in ["", "5a", &"5a".repeat(33), &"zz".repeat(32)] {
            assert!(SealKey::parse(text).is_err() && public_key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hexadecimal_digits_read_back() {
        assert_eq!(unhex(&hex(&[0, 15, 16, 255])).as_deref(), Some(&[0, 15, 16, 255][..]));
        assert_eq!((unhex("0"), unhex("é0")), (None, None));
    }
}
