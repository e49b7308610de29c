//! Who is signed in to the console. A person signs in with a key; the browser keeps a secret of 256 bits in a cookie, and the database
//! has its SHA-256. A session is its key's: it may no more than the key, from nowhere else, and ends with it.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use subtle::ConstantTimeEq;

use crate::api_key::{ApiKey, NoRandomness, random};
use crate::keyring::{self, StoredKey};
use crate::principal::Principal;

const SECRET_BYTES: usize = 32;

/// What the browser keeps.
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
        Ok(Self(URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?).into()))
    }

    /// `None`: we have not made this.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == SECRET_BYTES).then(|| Self(text.to_owned().into()))
    }

    /// For the cookie.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }

    /// What each form carries. A page of another site cannot know it, and it does not tell the secret.
    pub fn form_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("form:{}", self.expose())))
    }

    /// Whether a form carries the token of this secret.
    pub fn is_of_form(&self, token: &str) -> bool {
        self.form_token().as_bytes().ct_eq(token.as_bytes()).into()
    }
}

/// The sessions in the database.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: PgPool,
}

impl Sessions {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Signs in with a key that may be used, for at most 12 hours, and removes sessions that are over. False: there is no such key.
    pub async fn start(&self, key: &ApiKey, secret: &Secret) -> sqlx::Result<bool> {
        sqlx::query!(
            "delete from access.sessions where expires_at < clock_timestamp() or last_seen_at < clock_timestamp() - interval '1 hour'"
        )
        .execute(&self.pool)
        .await?;
        let started = sqlx::query!(
            r#"
            insert into access.sessions (hash, key_id, expires_at)
            select $1, id, clock_timestamp() + interval '12 hours' from access.api_keys
            where prefix = $2 and hash = $3 and (revoked_at is null or revoked_at > clock_timestamp())
            "#,
            &secret.hash(),
            key.prefix(),
            key.hash(),
        )
        .execute(&self.pool)
        .await?;
        Ok(started.rows_affected() == 1)
    }

    /// Who is signed in with this secret, and calls from this address. An hour without a request ends a session.
    pub async fn find(&self, secret: &Secret, address: Option<IpAddr>) -> sqlx::Result<Option<Principal>> {
        let row = sqlx::query_as!(
            keyring::Row,
            r#"
            with seen as (
                update access.sessions set last_seen_at = clock_timestamp()
                where hash = $1 and last_seen_at < clock_timestamp() - interval '1 minute'
                  and last_seen_at >= clock_timestamp() - interval '1 hour'
            )
            select key.id, name, role, customer_id, networks, key.expires_at
            from access.sessions as session join access.api_keys as key on key.id = key_id
            where session.hash = $1 and session.expires_at > clock_timestamp()
              and last_seen_at >= clock_timestamp() - interval '1 hour'
              and (revoked_at is null or revoked_at > clock_timestamp())
              and (key.expires_at is null or key.expires_at > clock_timestamp())
            "#,
            &secret.hash(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(key) = row.map(StoredKey::read).transpose()? else { return Ok(None) };
        Ok(key.may_come_from(address).then(|| (*key.principal).clone()))
    }

    /// Signs out.
    pub async fn end(&self, secret: &Secret) -> sqlx::Result<()> {
        sqlx::query!("delete from access.sessions where hash = $1", &secret.hash()).execute(&self.pool).await.map(drop)
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
        let read = Secret::parse(one.expose()).expect("a secret");
        assert_eq!(read.form_token(), one.form_token());
        assert!(Secret::parse("").is_none() && Secret::parse(&one.expose()[1..]).is_none());
        assert!(!format!("{one:?}").contains(one.expose()));
    }
}
