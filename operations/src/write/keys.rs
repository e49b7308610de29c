//! The keys of callers: made, rotated and revoked.

use std::time::Duration;

use access::Role;
use access::api_key::ApiKey;
use chrono::{DateTime, Utc};
use contracts::{CustomerId, check_text};
use ipnet::IpNet;
use runtime::database::in_transaction;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use serde_json::json;
use sqlx::postgres::types::PgInterval;
use sqlx::{PgConnection, PgPool};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Changed;
use super::record::{Action, Operator, record};
use crate::OperationError;

/// Longest name, in characters: it is the actor in the audit.
const MAX_NAME: usize = 64;
/// Most networks of one key.
const MAX_NETWORKS: usize = 50;
/// For so long a rotated key still works, unless another time is asked for.
pub const USUAL_OVERLAP: Duration = Duration::from_secs(86_400);
/// Longest time for which a rotated key still works.
pub const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 86_400);

/// A key to make.
#[derive(Debug, Clone)]
pub struct NewKey {
    name: String,
    role: Role,
    customer_id: Option<CustomerId>,
    networks: Vec<IpNet>,
    expires_at: Option<DateTime<Utc>>,
}

/// A key that was just made. Its text is not stored, and shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeKey {
    pub id: Uuid,
    pub name: String,
    pub role: String,
    pub customer_id: Option<String>,
    /// CIDR blocks; empty: it may be used from everywhere.
    pub networks: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
    /// `ak_live_…`: goes into `Authorization: Bearer`.
    #[serde(serialize_with = "once")]
    #[schema(value_type = String)]
    pub key: SecretString,
    /// After a rotation: until when the earlier key still works.
    pub earlier_key_until: Option<DateTime<Utc>>,
}

fn once<S: Serializer>(key: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose_secret())
}

impl NewKey {
    /// # Errors
    /// For a name that does not fit, a customer without an id or an id without a customer, or too many networks.
    pub fn new(
        name: &str,
        role: Role,
        customer_id: Option<CustomerId>,
        networks: Vec<IpNet>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<Self, OperationError> {
        let invalid = |field, message: &str| Err(OperationError::Invalid(field, message.to_owned()));
        if check_text(name, MAX_NAME, |_| false).is_err() {
            return Err(OperationError::Invalid(
                "name",
                format!("must be 1 to {MAX_NAME} characters long, without control characters"),
            ));
        }
        match (role, &customer_id) {
            (Role::Customer, None) => return invalid("customer_id", "is required for the role customer"),
            (Role::Customer, Some(_)) | (_, None) => {}
            (_, Some(_)) => return invalid("customer_id", "is for the role customer only"),
        }
        if networks.len() > MAX_NETWORKS {
            return Err(OperationError::Invalid("networks", format!("must be at most {MAX_NETWORKS}")));
        }
        Ok(Self { name: name.trim().to_owned(), role, customer_id, networks, expires_at })
    }
}

/// Makes a key.
///
/// # Errors
/// When a key of that name works already.
pub async fn create(pool: &PgPool, new: NewKey, operator: Operator) -> Result<MadeKey, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            end_expired(conn, &new.name, operator.actor()).await?;
            let made = insert(conn, new, None, operator.actor()).await?;
            let mut target = json!({ "key_id": made.id, "role": made.role, "expires_at": made.expires_at });
            // The record cannot be erased, so it says nothing of a customer but the key's id.
            if made.customer_id.is_none() {
                target["name"] = json!(made.name);
                target["networks"] = json!(made.networks);
            }
            record(conn, &operator, Action::CreateKey, target, 1).await?;
            Ok(made)
        })
    })
    .await
}

/// Makes another key of the same name and role, with a lifetime as long. The earlier one works on for the overlap.
///
/// # Errors
/// For a key that does not exist, or is revoked or rotated.
pub async fn rotate(pool: &PgPool, id: Uuid, overlap: Duration, operator: Operator) -> Result<MadeKey, OperationError> {
    if overlap > LONGEST_OVERLAP {
        let days = LONGEST_OVERLAP.as_secs() / 86_400;
        return Err(OperationError::Invalid("overlap_seconds", format!("must be at most {days} days")));
    }
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let earlier = end(conn, id, overlap, operator.actor()).await?;
            let Some(Ended { new, until }) = earlier else { return Err(not_to_end(conn, id).await?) };
            let made = insert(conn, new, Some(until), operator.actor()).await?;
            let name = Some(&made.name).filter(|_| made.customer_id.is_none());
            let target = json!({ "key_id": id, "name": name, "new_key_id": made.id, "earlier_key_until": until });
            record(conn, &operator, Action::RotateKey, target, 2).await?;
            Ok(made)
        })
    })
    .await
}

/// Revokes a key: no service accepts it any more after 5 s. A rotated key can be revoked before its time.
///
/// # Errors
/// For a key that does not exist.
pub async fn revoke(pool: &PgPool, id: Uuid, operator: Operator) -> Result<Changed, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let revoked = sqlx::query_scalar!(
                r#"
                update access.api_keys set revoked_at = clock_timestamp(), revoked_by = $1
                where id = $2 and (revoked_at is null or revoked_at > clock_timestamp())
                returning case when customer_id is null then name end as name
                "#,
                operator.actor(),
                id,
            )
            .fetch_optional(&mut *conn)
            .await?;
            if revoked.is_none() && !exists(conn, id).await? {
                return Err(OperationError::KeyNotFound(id));
            }
            let rows_changed = u64::from(revoked.is_some());
            let target = json!({ "key_id": id, "name": revoked.flatten() });
            record(conn, &operator, Action::RevokeKey, target, rows_changed).await?;
            Ok(Changed { rows_changed })
        })
    })
    .await
}

/// An expired key no longer stands in the way of another of its name.
async fn end_expired(conn: &mut PgConnection, name: &str, actor: &str) -> sqlx::Result<()> {
    let ended = sqlx::query!(
        r#"
        update access.api_keys set revoked_at = expires_at, revoked_by = $1
        where name = $2 and revoked_at is null and expires_at <= clock_timestamp()
        "#,
        actor,
        name,
    );
    ended.execute(conn).await.map(drop)
}

async fn insert(
    conn: &mut PgConnection,
    new: NewKey,
    earlier_key_until: Option<DateTime<Utc>>,
    actor: &str,
) -> Result<MadeKey, OperationError> {
    let (key, text) = ApiKey::generate().map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
    let NewKey { name, role, customer_id, networks, expires_at } = new;
    let networks: Vec<String> = networks.iter().map(IpNet::to_string).collect();
    let customer_id = customer_id.map(|id| id.as_str().to_owned());
    let id = sqlx::query_scalar!(
        r#"
        insert into access.api_keys (id, name, role, customer_id, prefix, hash, networks, created_by, expires_at)
        values (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, $8)
        returning id
        "#,
        name,
        role.as_str(),
        customer_id,
        key.prefix(),
        &key.hash()[..],
        &networks,
        actor,
        expires_at,
    )
    .fetch_one(conn)
    .await
    .map_err(|error| match error.as_database_error().and_then(|error| error.constraint()) {
        Some("api_keys_one_by_name") => OperationError::KeyExists(name.clone()),
        _ => error.into(),
    })?;
    let role = role.to_string();
    Ok(MadeKey { id, name, role, customer_id, networks, expires_at, key: text, earlier_key_until })
}

/// A key that works until then, and the key that takes its place.
struct Ended {
    new: NewKey,
    until: DateTime<Utc>,
}

async fn end(
    conn: &mut PgConnection,
    id: Uuid,
    overlap: Duration,
    actor: &str,
) -> Result<Option<Ended>, OperationError> {
    let overlap = PgInterval::try_from(overlap).map_err(sqlx::Error::Encode)?;
    let ended = sqlx::query!(
        r#"
        update access.api_keys set revoked_at = clock_timestamp() + $1::interval, revoked_by = $2
        where id = $3 and revoked_at is null
        returning name, role, customer_id, networks, clock_timestamp() + (expires_at - created_at) as next_expires_at,
                  revoked_at as "until!"
        "#,
        overlap,
        actor,
        id,
    )
    .fetch_optional(conn)
    .await?;
    let Some(ended) = ended else { return Ok(None) };
    let unreadable = || sqlx::Error::Decode(format!("the key {id} is not readable").into());
    let new = NewKey {
        role: ended.role.parse().map_err(|_| unreadable())?,
        customer_id: ended.customer_id.as_deref().map(CustomerId::parse).transpose().map_err(|_| unreadable())?,
        networks: ended.networks.iter().map(|n| n.parse()).collect::<Result<_, _>>().map_err(|_| unreadable())?,
        name: ended.name,
        expires_at: ended.next_expires_at,
    };
    Ok(Some(Ended { new, until: ended.until }))
}

async fn not_to_end(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<OperationError> {
    Ok(if exists(conn, id).await? { OperationError::KeyRevoked(id) } else { OperationError::KeyNotFound(id) })
}

async fn exists(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(r#"select exists (select from access.api_keys where id = $1) as "found!""#, id);
    found.fetch_one(conn).await
}
