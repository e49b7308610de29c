//! Looking at what an event or a document says of a customer. Reading changes nothing, but it is recorded like a change.

use runtime::database::in_transaction;
use serde_json::{Value, json};
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
    let ids = show::found(pool, id).await?;
    note(pool, operator, json!({ "event_ids": ids })).await?;
    show::show(pool, id).await
}

/// Records who opens a document and why. Returns the name of its file in the invoice store.
///
/// # Errors
/// [`OperationError::DocumentNotFound`], and [`OperationError::NoPdf`] before it is made and after it was erased; then nothing is
/// recorded.
pub async fn document(pool: &PgPool, id: Uuid, operator: &Operator) -> Result<String, OperationError> {
    let found = sqlx::query!(
        r#"
        select invoice_number as "number!", path, erased_at is not null as "is_erased!" from work.invoices where id = $1
        union all
        select credit_note_number, path, erased_at is not null from work.credit_notes where id = $1
        "#,
        id
    )
    .fetch_optional(pool)
    .await?
    .ok_or(OperationError::DocumentNotFound(id))?;
    let no_pdf = |why: &str| OperationError::NoPdf { number: found.number.clone(), why: why.to_owned() };
    if found.is_erased {
        return Err(no_pdf("it was erased with its customer's personal data"));
    }
    let path = found.path.as_deref().ok_or_else(|| no_pdf("it is not made yet; its job says why"))?;
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    note(pool, operator, json!({ "documents": [found.number] })).await?;
    Ok(name)
}

async fn note(pool: &PgPool, operator: &Operator, target: Value) -> Result<(), OperationError> {
    let operator = operator.clone();
    in_transaction(pool, move |conn| Box::pin(async move { record(conn, &operator, Action::Reveal, target, 0).await }))
        .await?;
    Ok(())
}
