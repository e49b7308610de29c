//! API keys: `ak_live_<prefix>_<secret>`. The secret has 256 bits. A key is shown once, when it is made; the database has its SHA-256,
//! and finds it by the prefix. With that much chance in a key, a slow hash would add nothing.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const MARK: &str = "ak_live_";
const PREFIX_CHARS: usize = 10;
const SECRET_BYTES: usize = 32;
/// 32 bytes in base64.
const SECRET_CHARS: usize = 43;

/// What a caller sent as its key. It may be anything of the right form.
#[derive(Clone)]
pub struct ApiKey {
    prefix: String,
    hash: [u8; 32],
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl ApiKey {
    /// `None`: this is no key.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, secret) = text.strip_prefix(MARK)?.split_at_checked(PREFIX_CHARS)?;
        let secret = secret.strip_prefix('_')?;
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_word(prefix) || !is_word(secret) || secret.len() != SECRET_CHARS {
            return None;
        }
        Some(Self { prefix: prefix.to_owned(), hash: Sha256::digest(text).into() })
    }

    /// A new key, and its text.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn generate() -> Result<(Self, SecretString), NoRandomness> {
        let (secret, prefix) = (random::<SECRET_BYTES>()?, random::<PREFIX_CHARS>()?);
        let prefix: String = prefix.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
        let text = SecretString::from(format!("{MARK}{prefix}_{}", URL_SAFE_NO_PAD.encode(secret)));
        let hash = Sha256::digest(text.expose_secret()).into();
        Ok((Self { prefix, hash }, text))
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Whether this is the key with that hash. Takes the same time wherever they differ.
    pub(crate) fn is(&self, hash: &[u8]) -> bool {
        self.hash.ct_eq(hash).into()
    }
}

/// 32 characters, without those that look alike.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";

/// Random bytes, for secrets.
///
/// # Errors
/// When the operating system has no random numbers.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// The operating system has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random numbers")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_read_back_and_no_other_is_it() {
        let (key, text) = ApiKey::generate().expect("random numbers");
        let text = text.expose_secret();
        assert!(text.starts_with("ak_live_") && text.len() == 8 + PREFIX_CHARS + 1 + SECRET_CHARS, "{text}");
        let read = ApiKey::parse(text).expect("a key");
        assert_eq!(read.prefix(), key.prefix());
        assert!(read.is(key.hash()));
        let (other, _) = ApiKey::generate().expect("random numbers");
        assert!(!read.is(other.hash()));
        assert!(!format!("{read:?}").contains(&text[20..]));
    }

    #[test]
    fn what_has_another_form_is_no_key() {
        let (_, text) = ApiKey::generate().expect("random numbers");
        let text = text.expose_secret();
        for wrong in [
            "",
            "ak_live_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}x"),
            &text.replace("live", "test"),
            &text.replace('_', "."),
            &text.replace("ak_live_", "ak_live_é"),
        ] {
            assert!(ApiKey::parse(wrong).is_none(), "{wrong}");
        }
    }
}
