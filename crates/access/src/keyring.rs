//! Looks API keys up, and remembers them for a moment, so that a request in a row of many costs no round trip.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::CustomerId;
use ipnet::IpNet;
use runtime::database::limited;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::api_key::ApiKey;
use crate::principal::{Principal, Role};

/// A key is looked up again in the background once its last look-up is this old...
const REFRESH_AFTER: Duration = Duration::from_secs(1);
/// ...and before its next use once it is this old. So a revoked key works for less than 5 s more.
const FRESH: Duration = Duration::from_secs(4);
/// Keys that are remembered, those that do not exist included.
const REMEMBERED: usize = 10_000;

/// A key that exists and is not revoked.
#[derive(Debug, Clone)]
pub(crate) struct StoredKey {
    pub(crate) principal: Arc<Principal>,
    expires_at: Option<DateTime<Utc>>,
    /// Empty: it may be used from everywhere.
    networks: Vec<IpNet>,
}

impl StoredKey {
    pub(crate) fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// A key of some networks may be used from nowhere else.
    pub(crate) fn may_come_from(&self, address: Option<IpAddr>) -> bool {
        let is_allowed = |address: IpAddr| self.networks.iter().any(|network| network.contains(&address));
        self.networks.is_empty() || address.is_some_and(is_allowed)
    }

    pub(crate) fn read(row: Row) -> sqlx::Result<Self> {
        let unreadable =
            |what: &str| sqlx::Error::Decode(format!("the API key {} has an unreadable {what}", row.id).into());
        let customer_id = row.customer_id.as_deref().map(CustomerId::parse).transpose();
        let networks: Result<_, _> = row.networks.iter().map(|network| network.parse()).collect();
        let role = row.role.parse::<Role>().map_err(|_| unreadable("role"))?;
        let customer_id = customer_id.map_err(|_| unreadable("customer"))?;
        let networks = networks.map_err(|_| unreadable("network"))?;
        Ok(Self {
            principal: Arc::new(Principal::new("key", row.name, role, customer_id)),
            expires_at: row.expires_at,
            networks,
        })
    }
}

/// A key in the database.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) customer_id: Option<String>,
    pub(crate) networks: Vec<String>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// What the last look-up of a key found.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    /// `None`: there is no such key.
    pub(crate) key: Option<Arc<StoredKey>>,
    looked_up: Instant,
    is_refreshing: bool,
}

/// The keys of the database.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    pool: PgPool,
    remembered: Arc<Mutex<HashMap<[u8; 32], Remembered>>>,
    /// Requests with a key that is not remembered look it up one after the other, and all but the first then find it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Keyring {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, remembered: Arc::default(), turn: Arc::default() }
    }

    /// What the last look-up found, if it is not too old.
    pub(crate) fn remembered(&self, key: &ApiKey) -> Option<Remembered> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = remembered.get_mut(key.hash()).filter(|known| known.looked_up.elapsed() < FRESH)?;
        if known.looked_up.elapsed() >= REFRESH_AFTER && !known.is_refreshing {
            known.is_refreshing = true;
            let (keyring, key) = (self.clone(), key.clone());
            tokio::spawn(async move {
                if let Err(error) = keyring.look_up(&key).await {
                    tracing::warn!(%error, prefix = key.prefix(), "could not look an API key up again");
                    keyring.forget_refresh(&key);
                }
            });
        }
        Some(known.clone())
    }

    fn forget_refresh(&self, key: &ApiKey) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = remembered.get_mut(key.hash()) {
            known.is_refreshing = false;
        }
    }

    /// `None`: there is no such key, or it is revoked.
    pub(crate) async fn find(&self, key: &ApiKey) -> sqlx::Result<Option<Arc<StoredKey>>> {
        let _turn = self.turn.lock().await;
        match self.remembered(key) {
            Some(known) => Ok(known.key),
            None => self.look_up(key).await,
        }
    }

    async fn look_up(&self, key: &ApiKey) -> sqlx::Result<Option<Arc<StoredKey>>> {
        let looked_up = Instant::now();
        let found = limited(stored(&self.pool, key)).await?.map(Arc::new);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            // Keys that do not exist are made up as fast as they come. They give way first.
            remembered.retain(|_, known| known.looked_up.elapsed() < FRESH && known.key.is_some());
        }
        if remembered.len() < REMEMBERED || remembered.contains_key(key.hash()) {
            remembered.insert(*key.hash(), Remembered { key: found.clone(), looked_up, is_refreshing: false });
        }
        Ok(found)
    }
}

/// Looks a key up, and notes once a minute that it is in use.
async fn stored(pool: &PgPool, key: &ApiKey) -> sqlx::Result<Option<StoredKey>> {
    let row = sqlx::query!(
        r#"
        select id, name, role, customer_id, hash, networks, expires_at,
               last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute' as "is_to_be_noted!"
        from access.api_keys
        where prefix = $1 and (revoked_at is null or revoked_at > clock_timestamp())
        "#,
        key.prefix(),
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row.filter(|row| key.is(&row.hash)) else { return Ok(None) };
    if row.is_to_be_noted {
        note_use(pool, row.id).await?;
    }
    let row = Row {
        id: row.id,
        name: row.name,
        role: row.role,
        customer_id: row.customer_id,
        networks: row.networks,
        expires_at: row.expires_at,
    };
    StoredKey::read(row).map(Some)
}

/// Another process may have noted it in the same moment.
async fn note_use(pool: &PgPool, id: Uuid) -> sqlx::Result<()> {
    let noted = sqlx::query!(
        r#"
        update access.api_keys set last_used_at = clock_timestamp()
        where id = $1 and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')
        "#,
        id
    );
    noted.execute(pool).await.map(drop)
}
