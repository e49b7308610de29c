//! How a command ends: with the entity's document, or with a refusal.

use axum::http::StatusCode;
use contracts::{EntityType, without_the_shops_own};
use runtime::ApiError;
use serde_json::json;
use uuid::Uuid;

use crate::document::whole;
use crate::idempotency::{KeyedRequest, key_reused};
use crate::store::{KnownAnswer, Stored, UnchangedAnswer};

/// A command that was executed, now or before under the same idempotency key.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    pub(crate) entity: EntityType,
    pub(crate) id: Uuid,
    pub(crate) version: i32,
    /// The entity's document as JSON.
    pub(crate) document: String,
    /// Whether this is the stored answer of an earlier request.
    pub(crate) replayed: bool,
    /// Of an entity that already was as requested: its state, and what transitions have added to it, as JSON.
    unchanged: Option<(String, String)>,
}

impl Outcome {
    /// The entity as the database has it.
    pub(crate) fn of(entity: EntityType, id: Uuid, stored: &Stored) -> Self {
        let Stored { state, version, document, progress } = stored;
        let document = whole(document, progress, state, *version);
        Self { status: StatusCode::OK, entity, id, version: *version, document, replayed: false, unchanged: None }
    }

    /// The same, of an entity that already was as requested.
    pub(crate) fn unchanged(entity: EntityType, id: Uuid, stored: Stored) -> Self {
        let outcome = Self::of(entity, id, &stored);
        Self { unchanged: Some((stored.state, stored.progress)), ..outcome }
    }

    /// What is stored under the idempotency key of a request that changed nothing. A request that changed something has stored it.
    pub(crate) fn to_remember(&self) -> Option<UnchangedAnswer<'_>> {
        let (state, progress) = self.unchanged.as_ref()?;
        Some(UnchangedAnswer { entity: self.entity.as_str(), id: self.id, version: self.version, state, progress })
    }

    /// The whole document of an entity.
    pub(crate) fn whole(entity: EntityType, id: Uuid, version: i32, document: String) -> Self {
        Self { status: StatusCode::OK, entity, id, version, document, replayed: false, unchanged: None }
    }

    /// A new entity.
    pub(crate) fn created(entity: EntityType, id: Uuid, document: String) -> Self {
        Self { status: StatusCode::CREATED, entity, id, version: 1, document, replayed: false, unchanged: None }
    }

    /// Without what the shop keeps for itself.
    pub(crate) fn for_customer(self) -> Self {
        Self { document: without_the_shops_own(self.document), ..self }
    }

    /// The stored answer, if the request is the same as the first one under its key.
    ///
    /// # Errors
    /// 422 when the key was used with another body.
    pub(crate) fn replayed(
        known: KnownAnswer,
        request: Option<&KeyedRequest>,
        entity: EntityType,
    ) -> Result<Self, ApiError> {
        if request.is_none_or(|request| request.request_hash != known.request_hash) {
            return Err(key_reused());
        }
        let status = u16::try_from(known.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        Ok(Self {
            status: status.unwrap_or(StatusCode::OK),
            entity,
            id: known.entity_id,
            version: known.version,
            document: known.body,
            replayed: true,
            unchanged: None,
        })
    }
}

/// The UUID in a path. Any other text cannot be an id, so there is no such entity.
pub(crate) fn entity_id(entity: EntityType, text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text).map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        not_found(entity, &shown, " (an id is a UUID)")
    })
}

/// 404 for an id that no entity has.
pub(crate) fn unknown_entity(entity: EntityType, id: Uuid) -> ApiError {
    not_found(entity, &id.to_string(), "")
}

/// 503 for an entity that another transaction holds for too long.
pub(crate) fn locked(entity: EntityType, id: Uuid) -> ApiError {
    let code = if entity == EntityType::Return { "RETURN_LOCKED" } else { "ORDER_LOCKED" };
    let message = format!("another transaction has locked the {entity} {id}; the command was not executed; try again");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message).with_details(json!({ "id": id }))
}

fn not_found(entity: EntityType, id: &str, hint: &str) -> ApiError {
    let code = match entity {
        EntityType::Return => "RETURN_NOT_FOUND",
        EntityType::Refund => "REFUND_NOT_FOUND",
        EntityType::Order | EntityType::Invoice | EntityType::CreditNote => "ORDER_NOT_FOUND",
    };
    ApiError::not_found(code, format!("there is no {entity} {id:?}{hint}")).with_details(json!({ "id": id }))
}
