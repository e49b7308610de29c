//! What a browser keeps in a cookie, and the database knows by its hash only.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api_key::{NoRandomness, random};

const BYTES: usize = 32;

/// 256 random bits of one browser.
#[derive(Clone)]
pub struct Secret(SecretString);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(_)")
    }
}

impl Secret {
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self(URL_SAFE_NO_PAD.encode(random::<BYTES>()?).into()))
    }

    /// `None`: we have not made this.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == BYTES).then(|| Self(text.to_owned().into()))
    }

    /// For the cookie.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }

    /// A text of 43 characters that belongs to this secret and to one purpose. It tells neither the secret nor those of other purposes.
    pub(crate) fn derived(&self, purpose: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{purpose}:{}", self.expose())))
    }

    /// Whether a text is the one that belongs to this secret and purpose.
    pub(crate) fn is_derived(&self, purpose: &str, text: &str) -> bool {
        self.derived(purpose).as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// What each form carries. A page of another site cannot know it.
    pub fn form_token(&self) -> String {
        self.derived("form")
    }

    /// Whether a form carries the token of this secret.
    pub fn is_of_form(&self, token: &str) -> bool {
        self.is_derived("form", token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_belongs_to_one_secret() {
        let [one, other] = [(); 2].map(|()| Secret::generate().expect("random numbers"));
        assert!(one.is_of_form(&one.form_token()));
        assert!(!one.is_of_form(&other.form_token()) && !one.is_of_form("") && !one.is_of_form(one.expose()));
        assert!(!one.is_of_form(&one.derived("state")), "it is of another purpose");
        let read = Secret::parse(one.expose()).expect("a secret");
        assert_eq!(read.form_token(), one.form_token());
        assert!(Secret::parse("").is_none() && Secret::parse(&one.expose()[1..]).is_none());
        assert!(!format!("{one:?}").contains(one.expose()));
    }
}
