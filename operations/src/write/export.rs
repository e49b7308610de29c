//! What is known of a customer. Nothing is changed but the record: it is an action to look at all of it.

use chrono::{DateTime, Utc};
use contracts::CustomerId;
use runtime::database::in_transaction;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::record::{Action, Operator, record};
use crate::OperationError;

/// Everything that is known of a customer: the answer to its request for access (Digital Personal Data Protection Act 2023, section 11).
#[derive(Debug, Serialize)]
pub struct Export {
    pub customer_id: String,
    pub exported_at: DateTime<Utc>,
    /// Whole, as the API shows them.
    pub orders: Vec<Value>,
    pub returns: Vec<Value>,
    pub refunds: Vec<Value>,
    /// The PDFs are in the invoice store, under `path`.
    pub invoices: Vec<Value>,
    pub credit_notes: Vec<Value>,
    /// The history of all of these.
    pub history: Vec<Value>,
    /// The e-mails that were sent.
    pub emails: Vec<Value>,
    /// The keys under which the customer calls, without the keys themselves.
    pub keys: Vec<Value>,
}

/// Collects it, and records that it was asked for.
///
/// # Errors
/// [`OperationError::CustomerNotFound`].
pub async fn export(
    pool: &PgPool,
    customer: &CustomerId,
    at: DateTime<Utc>,
    operator: Operator,
) -> Result<Export, OperationError> {
    let customer = customer.as_str().to_owned();
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let orders = orders(conn, &customer).await?;
            let keys = keys(conn, &customer).await?;
            if orders.is_empty() && keys.is_empty() {
                return Err(OperationError::CustomerNotFound(customer));
            }
            let order_ids: Vec<Uuid> = orders.iter().map(|part| part.id).collect();
            let returns = returns(conn, &order_ids).await?;
            let refunds = refunds(conn, &order_ids).await?;
            let sources: Vec<Uuid> = returns.iter().chain(&refunds).map(|part| part.id).collect();
            let invoices = invoices(conn, &order_ids).await?;
            let credit_notes = credit_notes(conn, &sources).await?;
            let parts = [&orders, &returns, &refunds, &invoices, &credit_notes];
            let ids: Vec<Uuid> = parts.into_iter().flatten().map(|part| part.id).collect();
            let (history, emails) = (history(conn, &ids).await?, emails(conn, &ids).await?);
            let target = json!({ "orders": order_ids });
            record(conn, &operator, Action::ExportCustomer, target, order_ids.len() as u64).await?;
            let documents = |part: Vec<Part>| part.into_iter().map(|part| part.document.0).collect();
            Ok(Export {
                customer_id: customer,
                exported_at: at,
                orders: documents(orders),
                returns: documents(returns),
                refunds: documents(refunds),
                invoices: documents(invoices),
                credit_notes: documents(credit_notes),
                history,
                emails,
                keys,
            })
        })
    })
    .await
}

/// A document of the export.
struct Part {
    id: Uuid,
    document: Json<Value>,
}

async fn orders(conn: &mut PgConnection, customer: &str) -> sqlx::Result<Vec<Part>> {
    sqlx::query_as!(
        Part,
        r#"
        select id, command.whole(document, progress, state, version)::json as "document!: _"
        from command.orders where customer_id = $1 order by id
        "#,
        customer,
    )
    .fetch_all(conn)
    .await
}

async fn returns(conn: &mut PgConnection, orders: &[Uuid]) -> sqlx::Result<Vec<Part>> {
    sqlx::query_as!(
        Part,
        r#"
        select id, command.whole(command.with_items(document, items, progress), progress, state, version)::json as "document!: _"
        from command.returns where order_id = any($1) order by id
        "#,
        orders,
    )
    .fetch_all(conn)
    .await
}

async fn refunds(conn: &mut PgConnection, orders: &[Uuid]) -> sqlx::Result<Vec<Part>> {
    sqlx::query_as!(
        Part,
        r#"
        select id, command.refund_document(refund) as "document!: _"
        from command.refunds as refund where order_id = any($1) order by id
        "#,
        orders,
    )
    .fetch_all(conn)
    .await
}

async fn invoices(conn: &mut PgConnection, orders: &[Uuid]) -> sqlx::Result<Vec<Part>> {
    sqlx::query_as!(
        Part,
        r#"
        select id, document as "document!: _" from work.invoices where order_id = any($1) and document is not null order by id
        "#,
        orders,
    )
    .fetch_all(conn)
    .await
}

async fn credit_notes(conn: &mut PgConnection, sources: &[Uuid]) -> sqlx::Result<Vec<Part>> {
    sqlx::query_as!(
        Part,
        r#"
        select id, document as "document!: _"
        from work.credit_notes where source_id = any($1) and document is not null order by id
        "#,
        sources,
    )
    .fetch_all(conn)
    .await
}

async fn history(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Value>> {
    let rows = sqlx::query_scalar!(
        r#"
        select command.transition(step) as "transition!: Json<Value>"
        from command.state_transitions as step
        where entity_type = any(array['order', 'return', 'refund', 'invoice', 'credit_note']) and entity_id = any($1)
        order by entity_id, version
        "#,
        ids,
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| row.0).collect())
}

async fn emails(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Value>> {
    let rows = sqlx::query_scalar!(
        r#"
        select jsonb_build_object('kind', kind, 'status', emails.status, 'message_id', message_id, 'sent_at', sent_at,
                                  'recipient', recipient) as "email!: Json<Value>"
        from messaging.inbox as job join work.emails using (event_id) left join work.email_corrections using (event_id)
        where queue = 'notifications' and job.aggregate_id = any($1) order by event_id
        "#,
        ids,
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| row.0).collect())
}

async fn keys(conn: &mut PgConnection, customer: &str) -> sqlx::Result<Vec<Value>> {
    let rows = sqlx::query_scalar!(
        r#"
        select jsonb_build_object('id', id, 'name', name, 'networks', networks, 'created_at', created_at, 'expires_at', expires_at,
                                  'revoked_at', revoked_at, 'last_used_at', last_used_at) as "key!: Json<Value>"
        from access.api_keys where customer_id = $1 order by created_at
        "#,
        customer,
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(|row| row.0).collect())
}
