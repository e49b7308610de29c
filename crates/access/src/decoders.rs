//! Reads credentials without a request, for the targets in `fuzz/`.

use axum::http::HeaderMap;

use crate::guard;
use std::sync::Arc;

use crate::principal::Principal;
use crate::token::Tokens;

/// What follows `Bearer` in `Authorization`, if the header is there once.
pub fn credentials(headers: &HeaderMap) -> Option<&str> {
    guard::credentials(headers).ok()
}

/// Checks tokens against one set of keys.
#[derive(Debug)]
pub struct TokenReader(Tokens);

impl TokenReader {
    /// # Errors
    /// When `keys` is no JSON Web Key Set.
    pub fn new(keys: &str, issuer: &str, audience: &str) -> anyhow::Result<Self> {
        Tokens::with_keys(keys, issuer, audience).map(Self)
    }

    /// Whose token it is; `None`: it is refused.
    pub fn principal(&self, token: &str) -> Option<Arc<Principal>> {
        self.0.principal(token).ok()
    }
}
