//! Consistency tokens: `<entity>:<id>@<version>.<signature>`. A query that gets one waits until its read model has that version, so a
//! token that anyone can make up would let anyone make the service wait. The signature is the first 8 bytes of an HMAC-SHA256, under a key
//! that the migrations make and only our services read. The same key signs the links to exports.

use std::fmt::{self, Write as _};
use std::time::Duration;

use ring::hmac;
use runtime::backoff::Backoff;
use runtime::database::{is_unavailable, limited};
use sqlx::PgPool;
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use uuid::Uuid;

const SIGNATURE_BYTES: usize = 8;
/// How long a starting service waits for the key, as for its first connection.
const READ_WITHIN: Duration = Duration::from_secs(30);
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// The key of a database's tokens.
#[derive(Clone)]
pub struct ConsistencyKey(hmac::Key);

impl fmt::Debug for ConsistencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsistencyKey")
    }
}

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'t> {
    pub entity: &'t str,
    pub id: Uuid,
    pub version: i32,
}

impl ConsistencyKey {
    /// Reads the key, at the start of a service: a database that is not available is waited for. The pool is on the database of the
    /// commands.
    pub async fn load(pool: &PgPool) -> sqlx::Result<Self> {
        let (started, mut failures) = (Instant::now(), 0);
        loop {
            let read = sqlx::query_scalar!("select key from access.consistency_key").fetch_one(pool);
            match limited(read).await {
                Ok(key) => return Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key))),
                Err(error) if is_unavailable(&error) && started.elapsed() < READ_WITHIN => {
                    failures += 1;
                    tokio::time::sleep(RETRY.delay(failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The key of these bytes.
    pub fn of(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The token of a version.
    pub fn token(&self, entity: &str, id: Uuid, version: i32) -> String {
        let said = format!("{entity}:{id}@{version}");
        let signature = u64::from_be_bytes(self.signature(&said));
        format!("{said}.{signature:016x}")
    }

    /// `None`: it is none of ours.
    pub fn read<'t>(&self, token: &'t str) -> Option<Token<'t>> {
        let (said, signature) = token.rsplit_once('.')?;
        let expected = format!("{:016x}", u64::from_be_bytes(self.signature(said)));
        if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
            return None;
        }
        let (entity, rest) = said.split_once(':')?;
        let (id, version) = rest.split_once('@')?;
        Some(Token {
            entity,
            id: Uuid::try_parse(id).ok()?,
            version: version.parse().ok().filter(|version| *version >= 1)?,
        })
    }

    /// The signature of a link to `path` that can be used until a time, in seconds since 1970.
    pub fn link(&self, path: &str, until: i64) -> String {
        let mut signature = String::with_capacity(64);
        for byte in hmac::sign(&self.0, &linked(path, until)).as_ref() {
            write!(signature, "{byte:02x}").expect("a String takes everything");
        }
        signature
    }

    /// Whether a link is ours.
    pub fn is_link(&self, path: &str, until: i64, signature: &str) -> bool {
        self.link(path, until).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    fn signature(&self, said: &str) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&hmac::sign(&self.0, said.as_bytes()).as_ref()[..SIGNATURE_BYTES]);
        signature
    }
}

/// What the signature of a link covers. No consistency token begins with a slash.
fn linked(path: &str, until: i64) -> Vec<u8> {
    format!("{path}?expires={until}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_key_makes_tokens() {
        let (ours, theirs) = (ConsistencyKey::of(&[1; 32]), ConsistencyKey::of(&[2; 32]));
        let id = Uuid::from_u128(7);
        let token = ours.token("order", id, 3);
        assert_eq!(token.len(), "order:".len() + 36 + "@3.".len() + 16, "{token}");
        assert_eq!(ours.read(&token), Some(Token { entity: "order", id, version: 3 }));
        assert_eq!(theirs.read(&token), None);
        for forged in [
            token.replace("@3", "@4"),
            token.replace("order", "return"),
            token[..token.len() - 1].to_owned(),
            format!("{token}0"),
            token.to_uppercase(),
            format!("order:{id}@3"),
            String::new(),
            ".".to_owned(),
        ] {
            assert_eq!(ours.read(&forged), None, "{forged}");
        }
    }

    #[test]
    fn a_link_is_for_one_path_and_one_time() {
        let (ours, theirs) = (ConsistencyKey::of(&[1; 32]), ConsistencyKey::of(&[2; 32]));
        let signature = ours.link("/a", 7);
        assert_eq!(signature.len(), 64);
        assert!(ours.is_link("/a", 7, &signature));
        for (key, path, until) in [(&ours, "/b", 7), (&ours, "/a", 8), (&theirs, "/a", 7)] {
            assert!(!key.is_link(path, until, &signature), "{path} {until}");
        }
        assert!(!ours.is_link("/a", 7, ""));
    }
}
