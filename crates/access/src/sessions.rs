//! Who is signed in to the console: with a key, or at the identity provider. The browser keeps a secret of 256 bits in a cookie, and the
//! database has its SHA-256.
//!
//! - The session of a key is its key's: it may no more than the key, from nowhere else, and ends with it.
//! - The session of a person has the name and the role that the provider told at the sign-in. It counts while the settings name the same
//!   issuer.

use std::net::IpAddr;

use sqlx::PgPool;

use crate::api_key::ApiKey;
use crate::keyring::{self, StoredKey};
use crate::principal::{Principal, Role};
use crate::provider::Person;
use crate::secret::Secret;
use crate::sign_ins::Earlier;

/// Who is signed in, and how the console calls them.
#[derive(Debug, Clone)]
pub struct Session {
    pub principal: Principal,
    /// The name of the key or of the person.
    pub shown: String,
}

/// The sessions in the database.
#[derive(Debug, Clone)]
pub struct Sessions {
    pool: PgPool,
    /// How long a session lasts.
    hours: i32,
    /// Whose sessions of persons count.
    issuer: Option<String>,
}

impl Sessions {
    /// Sessions last so many hours. Those of persons count if this issuer knows them.
    pub fn new(pool: PgPool, hours: u8, issuer: Option<&str>) -> Self {
        Self { pool, hours: hours.into(), issuer: issuer.map(str::to_owned) }
    }

    /// Signs in with a key that may be used, and removes sessions that are over. False: there is no such key.
    pub async fn start(&self, key: &ApiKey, secret: &Secret) -> sqlx::Result<bool> {
        self.remove_ended().await?;
        let started = sqlx::query!(
            r#"
            insert into access.sessions (hash, key_id, expires_at)
            select $1, id, clock_timestamp() + make_interval(hours => $2) from access.api_keys
            where prefix = $3 and hash = $4 and (revoked_at is null or revoked_at > clock_timestamp())
            "#,
            &secret.hash(),
            self.hours,
            key.prefix(),
            key.hash(),
        )
        .execute(&self.pool)
        .await?;
        Ok(started.rows_affected() == 1)
    }

    /// Signs in a person of the issuer in place of the session that the browser had before, and removes sessions that are over.
    pub async fn start_person(&self, person: &Person, secret: &Secret, earlier: &Earlier) -> sqlx::Result<()> {
        self.remove_ended().await?;
        let started = sqlx::query!(
            r#"
            with ended as (delete from access.sessions where hash = $1)
            insert into access.sessions (hash, issuer, subject, name, role, expires_at)
            values ($2, $3, $4, $5, $6, clock_timestamp() + make_interval(hours => $7))
            "#,
            earlier.0.as_deref(),
            &secret.hash(),
            self.issuer,
            person.subject,
            person.name,
            person.role.as_str(),
            self.hours,
        );
        started.execute(&self.pool).await.map(drop)
    }

    async fn remove_ended(&self) -> sqlx::Result<()> {
        let removed = sqlx::query!(
            "delete from access.sessions where expires_at < clock_timestamp() or last_seen_at < clock_timestamp() - interval '1 hour'"
        );
        removed.execute(&self.pool).await.map(drop)
    }

    /// Who is signed in with this secret, and calls from this address. An hour without a request ends a session.
    pub async fn find(&self, secret: &Secret, address: Option<IpAddr>) -> sqlx::Result<Option<Session>> {
        let row = sqlx::query!(
            r#"
            with seen as (
                update access.sessions set last_seen_at = clock_timestamp()
                where hash = $1 and last_seen_at < clock_timestamp() - interval '1 minute'
                  and last_seen_at >= clock_timestamp() - interval '1 hour'
            )
            select key_id, subject, session.name, session.role,
                   key.name as "key_name?", key.role as "key_role?", key.customer_id, key.networks as "networks?", key.expires_at as "key_expires_at?"
            from access.sessions as session left join access.api_keys as key on key.id = key_id
            where session.hash = $1 and session.expires_at > clock_timestamp()
              and last_seen_at >= clock_timestamp() - interval '1 hour'
              and (revoked_at is null or revoked_at > clock_timestamp())
              and (key.expires_at is null or key.expires_at > clock_timestamp())
              and (key_id is not null or issuer = $2)
            "#,
            &secret.hash(),
            self.issuer,
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if let (Some(id), Some(name), Some(role)) = (row.key_id, row.key_name, row.key_role) {
            let networks = row.networks.unwrap_or_default();
            let row =
                keyring::Row { id, name, role, customer_id: row.customer_id, networks, expires_at: row.key_expires_at };
            let key = StoredKey::read(row)?;
            let principal = (*key.principal).clone();
            let shown = principal.name.clone();
            return Ok(key.may_come_from(address).then_some(Session { principal, shown }));
        }
        let (Some(subject), Some(role)) = (row.subject, row.role) else { return Ok(None) };
        let role: Role = role.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let person = Person { subject, name: row.name, role };
        Ok(Some(Session { principal: person.principal(), shown: person.name.unwrap_or(person.subject) }))
    }

    /// Signs out. True: it was the session of a person, who may still be signed in at the provider.
    pub async fn end(&self, secret: &Secret) -> sqlx::Result<bool> {
        let ended = sqlx::query_scalar!(
            r#"delete from access.sessions where hash = $1 returning key_id is null as "of_person!""#,
            &secret.hash()
        );
        Ok(ended.fetch_optional(&self.pool).await?.unwrap_or_default())
    }
}
