//! The endpoints of webhooks: made, changed, rotated, tested and deleted; and deliveries on demand.

mod deliveries;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use contracts::{EventType, check_text};
use reqwest::Url;
use runtime::addresses::{is_public, literal};
use runtime::database::in_transaction;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

pub use deliveries::{Recovered, Started, recover, redeliver, test};

use super::Changed;
use super::record::{Action, Operator, record};
use crate::OperationError;
use crate::read::webhooks::{Endpoint, endpoint};

const MAX_URL: usize = 2_048;
const MAX_DESCRIPTION: usize = 255;
const SECRET_BYTES: usize = 32;
/// For so long the earlier secret signs too, unless another time is asked for.
pub const USUAL_OVERLAP: Duration = Duration::from_secs(86_400);
/// Longest time for which an earlier secret still signs.
pub const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * 86_400);

/// What an endpoint is, without its secret. Valid.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub url: Option<String>,
    pub description: Option<String>,
    pub event_types: Option<Vec<String>>,
    /// Whether it is sent something.
    pub enabled: Option<bool>,
}

impl Wanted {
    /// # Errors
    /// With the first member that is invalid.
    pub fn parse(self, allow_private: bool) -> Result<Self, OperationError> {
        if let Some(url) = &self.url {
            check_url(url, allow_private).map_err(|why| OperationError::Invalid("url", why))?;
        }
        if let Some(description) = &self.description
            && let Err(error) = check_text(description, MAX_DESCRIPTION, |_| false)
        {
            return Err(OperationError::Invalid("description", error.to_string()));
        }
        let known: Vec<_> = EventType::news().map(EventType::as_str).collect();
        if self.event_types.iter().flatten().any(|event_type| !known.contains(&event_type.as_str())) {
            return Err(OperationError::Invalid("event_types", format!("must be among {}", known.join(", "))));
        }
        Ok(self)
    }
}

fn check_url(text: &str, allow_private: bool) -> Result<(), String> {
    if text.chars().count() > MAX_URL {
        return Err(format!("must be at most {MAX_URL} characters long"));
    }
    let url =
        Url::parse(text).map_err(|error| format!("must be an address like https://shop.example/hooks: {error}"))?;
    let schemes: &[&str] = if allow_private { &["https", "http"] } else { &["https"] };
    if !schemes.contains(&url.scheme()) {
        return Err("must begin with https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must have no user name, password or fragment".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let is_private = literal(host).is_some_and(|address| !is_public(address)) || host == "localhost";
    if is_private && !allow_private {
        return Err("must not be a private address (WEBHOOK_ALLOW_PRIVATE)".to_owned());
    }
    Ok(())
}

/// An endpoint with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointWithSecret {
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// `whsec_…`: verifies what is sent (Standard Webhooks).
    #[serde(serialize_with = "once")]
    #[schema(value_type = String)]
    pub secret: SecretString,
}

fn once<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

fn new_secret() -> Result<SecretString, OperationError> {
    let bytes =
        access::api_key::random::<SECRET_BYTES>().map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
    Ok(format!("whsec_{}", STANDARD.encode(bytes)).into())
}

/// Makes an endpoint. It gets what happens from now on.
///
/// # Errors
/// The database fails.
pub async fn create(
    pool: &PgPool,
    id: Uuid,
    wanted: Wanted,
    at: DateTime<Utc>,
    operator: Operator,
) -> Result<EndpointWithSecret, OperationError> {
    let secret = new_secret()?;
    let (text, target) = (secret.expose_secret().to_owned(), described(id, &wanted));
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            sqlx::query!(
                r#"
                insert into messaging.webhook_endpoints (id, url, description, event_types, secret, created_at, updated_at)
                values ($1, $2, $3, $4, $5, $6, $6)
                "#,
                id,
                wanted.url.unwrap_or_default(),
                wanted.description,
                &wanted.event_types.unwrap_or_default(),
                text,
                at,
            )
            .execute(&mut *conn)
            .await?;
            record(conn, &operator, Action::CreateWebhook, target, 1).await?;
            Ok::<_, OperationError>(())
        })
    })
    .await?;
    Ok(EndpointWithSecret { endpoint: endpoint(pool, id).await?, secret })
}

/// Changes an endpoint. One that is enabled again gets what happens from then on, and what was pending; `recover` brings the rest.
///
/// # Errors
/// There is no such endpoint.
pub async fn change(pool: &PgPool, id: Uuid, wanted: Wanted, operator: Operator) -> Result<Endpoint, OperationError> {
    let target = described(id, &wanted);
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let changed = sqlx::query!(
                r#"
                update messaging.webhook_endpoints
                set url = coalesce($2, url), description = coalesce($3, description), event_types = coalesce($4, event_types),
                    disabled_at = case when $5 then null when not $5 then coalesce(disabled_at, clock_timestamp()) else disabled_at end,
                    disabled_reason = case when $5 then null when not $5 then coalesce(disabled_reason, $6) else disabled_reason end,
                    failing_since = case when $5 then null else failing_since end, updated_at = clock_timestamp()
                where id = $1 and deleted_at is null
                "#,
                id,
                wanted.url,
                wanted.description,
                wanted.event_types.as_deref(),
                wanted.enabled,
                operator.reason(),
            );
            if changed.execute(&mut *conn).await?.rows_affected() == 0 {
                return Err(OperationError::WebhookNotFound(id));
            }
            if wanted.enabled == Some(true) {
                // What waits for an earlier event is looked at: that event may be gone.
                sqlx::query!(
                    "update messaging.webhook_deliveries set due_at = clock_timestamp() where endpoint_id = $1 and status = 'PENDING' and due_at is null",
                    id,
                )
                .execute(&mut *conn)
                .await?;
            }
            record(conn, &operator, Action::ChangeWebhook, target, 1).await?;
            Ok(())
        })
    })
    .await?;
    endpoint(pool, id).await
}

fn described(id: Uuid, wanted: &Wanted) -> Value {
    // The path of an address may be a secret.
    let host = wanted.url.as_deref().and_then(|url| Url::parse(url).ok()?.host_str().map(str::to_owned));
    json!({ "endpoint_id": id, "host": host, "event_types": wanted.event_types, "enabled": wanted.enabled })
}

/// Gives an endpoint another secret. The earlier one signs too, for the overlap.
///
/// # Errors
/// There is no such endpoint, or the overlap is too long.
pub async fn rotate(
    pool: &PgPool,
    id: Uuid,
    overlap: Duration,
    at: DateTime<Utc>,
    operator: Operator,
) -> Result<EndpointWithSecret, OperationError> {
    if overlap > LONGEST_OVERLAP {
        let days = LONGEST_OVERLAP.as_secs() / 86_400;
        return Err(OperationError::Invalid("overlap_seconds", format!("must be at most {days} days")));
    }
    let secret = new_secret()?;
    let (text, until) = (secret.expose_secret().to_owned(), at + overlap);
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let rotated = sqlx::query_scalar!("select messaging.rotate_webhook_secret($1, $2, $3)", id, text, until);
            if rotated.fetch_one(&mut *conn).await? != Some(true) {
                return Err(OperationError::WebhookNotFound(id));
            }
            let target = json!({ "endpoint_id": id, "earlier_secret_until": until });
            record(conn, &operator, Action::RotateWebhook, target, 1).await?;
            Ok(())
        })
    })
    .await?;
    Ok(EndpointWithSecret { endpoint: endpoint(pool, id).await?, secret })
}

/// Deletes an endpoint. What is pending is discarded; its log stays for as long as its events are kept.
///
/// # Errors
/// There is no such endpoint.
pub async fn delete(pool: &PgPool, id: Uuid, operator: Operator) -> Result<Changed, OperationError> {
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let deleted = sqlx::query!(
                "update messaging.webhook_endpoints set deleted_at = clock_timestamp(), secret = '', previous_secret = null, previous_until = null where id = $1 and deleted_at is null",
                id,
            );
            if deleted.execute(&mut *conn).await?.rows_affected() == 0 {
                return Err(OperationError::WebhookNotFound(id));
            }
            let discarded = sqlx::query!(
                r#"
                update messaging.webhook_deliveries
                set status = 'DISCARDED', due_at = null, claim_id = null, settled_at = clock_timestamp()
                where endpoint_id = $1 and status = 'PENDING'
                "#,
                id,
            );
            let discarded = discarded.execute(&mut *conn).await?.rows_affected();
            let target = json!({ "endpoint_id": id, "discarded": discarded });
            record(conn, &operator, Action::DeleteWebhook, target, 1).await?;
            Ok(Changed { rows_changed: 1 })
        })
    })
    .await
}
