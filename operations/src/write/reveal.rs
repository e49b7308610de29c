//! Looking at what an event says of a customer. Reading changes nothing, but it is recorded like a change.

use runtime::database::in_transaction;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::record::{Action, Operator, record};
use crate::OperationError;
use crate::read::show::{self, Shown};

/// Records who looks and why; then reads the event, or the events of the aggregate, with everything in them.
///
/// # Errors
/// As [`show::show`]; then nothing is recorded.
pub async fn reveal(pool: &PgPool, id: Uuid, operator: &Operator) -> Result<Shown, OperationError> {
    let (operator, ids) = (operator.clone(), show::found(pool, id).await?);
    in_transaction(pool, move |conn| {
        Box::pin(async move { record(conn, &operator, Action::Reveal, json!({ "event_ids": ids }), 0).await })
    })
    .await?;
    show::show(pool, id).await
}
