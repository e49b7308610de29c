//! Erasing a customer's personal data. Books, numbers and amounts stay; what invoices and credit notes print stays as long as the law
//! asks for it.
//!
//! It is done order by order, each in a transaction of its own, and can be repeated when it was interrupted. Nothing is erased while
//! something is still to be done for the customer.

use std::time::{Duration as StdDuration, Instant};

use chrono::{DateTime, Datelike, Duration, NaiveDate, Utc};
use contracts::{CustomerId, day_in_india};
use runtime::database::in_transaction;
use runtime::{Clock, Ids};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use storage::{InvoiceStore, StoreError};
use uuid::Uuid;

use super::erasure::{self, Erasure, Part};
use super::hints;
use super::record::{Action, Operator, record};
use crate::OperationError;

const AT_REST_WITHIN: StdDuration = StdDuration::from_secs(5);
const LOOK_EVERY: StdDuration = StdDuration::from_millis(200);
/// The log may be large, and is read once.
const SLOW: &str = "set local statement_timeout = '20min'";

/// What was erased.
#[derive(Debug, Serialize)]
pub struct Erased {
    /// The customer's id from now on.
    pub pseudonym: String,
    pub orders: u64,
    pub keys_revoked: u64,
    /// Until when what invoices and credit notes print is kept. `None`: nothing is kept.
    pub documents_until: Option<NaiveDate>,
}

/// Erases what is known of a customer, except for what its tax documents print: that is kept for `tax_years`.
///
/// # Errors
/// [`OperationError::CustomerNotFound`]; [`OperationError::NotErasable`] and [`OperationError::NotAtRest`] while orders, returns, refunds
/// or jobs are open.
pub async fn erase(
    pool: &PgPool,
    customer: &CustomerId,
    tax_years: i32,
    clock: &Clock,
    operator: Operator,
) -> Result<Erased, OperationError> {
    refuse_pseudonym(pool, customer).await?;
    let orders = orders_of(pool, customer).await?;
    let mut named = names_of(pool, customer).await?;
    if orders.is_empty() && named.is_empty() {
        return Err(OperationError::CustomerNotFound(customer.as_str().to_owned()));
    }
    refuse_during_rebuild(pool).await?;
    for order in &orders {
        at_rest(pool, order.id).await?;
    }
    let (now, pseudonym) = (clock.now(), format!("erased-{}", &Ids::system().next().simple().to_string()[20..]));
    let keys_revoked = start(pool, customer, &pseudonym, &orders, operator.clone()).await?;
    named.push(customer.as_str().to_owned());
    let mut documents_until = None;
    for order in &orders {
        let until = order.invoiced_at.map(|at| later(day_in_india(at), tax_years));
        documents_until = documents_until.max(until);
        let erasure = Erasure {
            order_id: order.id,
            pseudonym: pseudonym.clone(),
            named: named.clone(),
            tax: false,
            at: now,
            until,
            operator: operator.clone(),
        };
        in_transaction(pool, move |conn| Box::pin(async move { slowly(erasure, conn).await })).await?;
    }
    finish(pool, now).await?;
    hints::wake_relays(pool).await;
    Ok(Erased { pseudonym, orders: orders.len() as u64, keys_revoked, documents_until })
}

/// Erases what invoices and credit notes of erased customers print, where the law asks for it no longer, and removes their PDFs.
/// Returns of how many orders.
///
/// # Errors
/// When some could not be erased: it can be repeated.
pub async fn erase_documents(
    pool: &PgPool,
    store: &InvoiceStore,
    clock: &Clock,
    operator: Operator,
) -> Result<u64, OperationError> {
    let now = clock.now();
    let due = sqlx::query!(
        "select order_id, pseudonym from command.erasures where documents_until <= $1 and documents_erased_at is null order by order_id",
        day_in_india(now),
    )
    .fetch_all(pool)
    .await?;
    let mut failed = Vec::new();
    for order in &due {
        let erasure = Erasure {
            order_id: order.order_id,
            pseudonym: order.pseudonym.clone(),
            named: vec![order.pseudonym.clone()],
            tax: true,
            at: now,
            until: None,
            operator: operator.clone(),
        };
        if let Err(error) = erase_documents_of(pool, store, erasure).await {
            failed.push(error.to_string());
        }
    }
    finish(pool, now).await?;
    hints::wake_relays(pool).await;
    let (done, left) = ((due.len() - failed.len()) as u64, failed.len() as u64);
    match failed.into_iter().next() {
        None => Ok(done),
        Some(first) => Err(OperationError::DocumentsLeft { done, left, first }),
    }
}

async fn erase_documents_of(pool: &PgPool, store: &InvoiceStore, erasure: Erasure) -> Result<(), OperationError> {
    let (order_id, at) = (erasure.order_id, erasure.at);
    let parts = at_rest(pool, order_id).await?;
    let ids: Vec<Uuid> = parts.iter().map(|part| part.id).collect();
    // A run that was interrupted has done this already.
    if !is_erased(pool, order_id).await? {
        let operator = erasure.operator.clone();
        in_transaction(pool, move |conn| {
            Box::pin(async move {
                slowly(erasure, &mut *conn).await?;
                record(conn, &operator, Action::EraseDocuments, json!({ "orders": [order_id] }), 1).await?;
                Ok::<_, OperationError>(())
            })
        })
        .await?;
    }
    for name in files_of(pool, order_id, &ids).await? {
        match store.remove(&name).await {
            Ok(()) | Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(OperationError::FileLeft { name, reason: error.to_string() }),
        }
    }
    sqlx::query!("update command.erasures set documents_erased_at = $2 where order_id = $1", order_id, at)
        .execute(pool)
        .await?;
    Ok(())
}

async fn slowly(erasure: Erasure, conn: &mut PgConnection) -> Result<(), OperationError> {
    sqlx::query(SLOW).execute(&mut *conn).await?;
    erasure.run(conn).await
}

/// Rewrites what the log keeps itself of erased orders: those of this run, and of runs that were interrupted. It comes last, so that
/// nothing is written under the old names after it.
async fn finish(pool: &PgPool, at: DateTime<Utc>) -> Result<(), OperationError> {
    let open = sqlx::query!(
        r#"
        select order_id, pseudonym, invoices.erased_at is not null as "tax!"
        from command.erasures left join work.invoices using (order_id) where log_erased_at is null order by pseudonym, order_id
        "#
    )
    .fetch_all(pool)
    .await?;
    for run in open.chunk_by(|one, other| (&one.pseudonym, one.tax) == (&other.pseudonym, other.tax)) {
        let orders: Vec<Uuid> = run.iter().map(|order| order.order_id).collect();
        let (pseudonym, tax) = (run[0].pseudonym.clone(), run[0].tax);
        in_transaction(pool, move |conn| {
            Box::pin(async move {
                sqlx::query(SLOW).execute(&mut *conn).await?;
                sqlx::query!(
                    r#"
                    select messaging.erase_events(
                        (select array_agg(part.id) from unnest($1::uuid[]) as erased (id), command.lock_for_erasure(erased.id) as part), $2, $3)
                    "#,
                    &orders,
                    pseudonym,
                    tax,
                )
                .fetch_one(&mut *conn)
                .await?;
                sqlx::query!("update command.erasures set log_erased_at = $2 where order_id = any($1)", &orders, at)
                    .execute(conn)
                    .await?;
                Ok::<_, OperationError>(())
            })
        })
        .await?;
    }
    Ok(())
}

async fn refuse_pseudonym(pool: &PgPool, customer: &CustomerId) -> Result<(), OperationError> {
    let is_erased = sqlx::query_scalar!(
        r#"select exists (select from command.erasures where pseudonym = $1) as "erased!""#,
        customer.as_str()
    );
    if is_erased.fetch_one(pool).await? {
        return Err(OperationError::NotErasable(format!("{} is a customer who was erased", customer.as_str())));
    }
    Ok(())
}

/// What belongs to an order, once all events about it have been read. That takes a moment after the last of them.
async fn at_rest(pool: &PgPool, order_id: Uuid) -> Result<Vec<Part>, OperationError> {
    let started = Instant::now();
    loop {
        match in_transaction(pool, move |conn| Box::pin(erasure::ready(conn, order_id))).await {
            Err(OperationError::NotAtRest { .. }) if started.elapsed() < AT_REST_WITHIN => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            parts => return parts,
        }
    }
}

struct OrderOfCustomer {
    id: Uuid,
    invoiced_at: Option<DateTime<Utc>>,
}

async fn orders_of(pool: &PgPool, customer: &CustomerId) -> sqlx::Result<Vec<OrderOfCustomer>> {
    let orders = sqlx::query_as!(
        OrderOfCustomer,
        r#"
        select orders.id, issued_at as "invoiced_at?"
        from command.orders left join work.invoices on order_id = orders.id
        where customer_id = $1 order by orders.id
        "#,
        customer.as_str(),
    );
    orders.fetch_all(pool).await
}

/// The names under which the customer calls.
async fn names_of(pool: &PgPool, customer: &CustomerId) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!("select distinct name from access.api_keys where customer_id = $1", customer.as_str())
        .fetch_all(pool)
        .await
}

/// Empties what a killed rebuild has left, where the read models are in this database.
async fn refuse_during_rebuild(pool: &PgPool) -> Result<(), OperationError> {
    let is_running =
        sqlx::query_scalar!(r#"select read.clear_abandoned_rebuild() as "running!""#).fetch_one(pool).await?;
    if is_running {
        return Err(OperationError::NotErasable(
            "the read models are being rebuilt; try again when that has ended".to_owned(),
        ));
    }
    Ok(())
}

/// Records the action, and ends the customer's keys, which have its name. Returns how many keys.
async fn start(
    pool: &PgPool,
    customer: &CustomerId,
    pseudonym: &str,
    orders: &[OrderOfCustomer],
    operator: Operator,
) -> Result<u64, OperationError> {
    let (customer, pseudonym) = (customer.as_str().to_owned(), pseudonym.to_owned());
    let orders: Vec<Uuid> = orders.iter().map(|order| order.id).collect();
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            let revoked = sqlx::query!(
                r#"
                update access.api_keys
                set name = $2 || '-' || left(id::text, 8), customer_id = $2, networks = '{}', created_by = 'erased',
                    revoked_by = coalesce(revoked_by, $3),
                    revoked_at = least(coalesce(revoked_at, clock_timestamp()), clock_timestamp())
                where customer_id = $1
                "#,
                customer,
                pseudonym,
                operator.actor(),
            );
            let keys = revoked.execute(&mut *conn).await?.rows_affected();
            let rows = orders.len() as u64;
            record(conn, &operator, Action::EraseCustomer, json!({ "pseudonym": pseudonym, "orders": orders }), rows)
                .await?;
            Ok::<_, OperationError>(keys)
        })
    })
    .await
}

async fn is_erased(pool: &PgPool, order_id: Uuid) -> sqlx::Result<bool> {
    let erased = sqlx::query_scalar!(
        r#"select erased_at is not null as "erased!" from work.invoices where order_id = $1"#,
        order_id
    );
    Ok(erased.fetch_optional(pool).await?.unwrap_or(false))
}

/// The PDFs of an order: every edition of its invoice, registrations that never became one, and its credit notes.
async fn files_of(pool: &PgPool, order_id: Uuid, ids: &[Uuid]) -> sqlx::Result<Vec<String>> {
    let mut files = sqlx::query_scalar!(
        r#"
        select path as "path!" from work.invoices where order_id = $1 and path is not null
        union
        select earlier ->> 'path' from work.invoices cross join jsonb_array_elements(document -> 'earlier_editions') as earlier
        where order_id = $1
        union
        select path from work.credit_notes where id = any($2) and path is not null
        "#,
        order_id,
        ids,
    )
    .fetch_all(pool)
    .await?;
    let registered = sqlx::query!(
        r#"
        select order_document ->> 'order_number' as "order_number!", registered as "version!"
        from work.invoices cross join unnest(registrations) as registered where order_id = $1
        "#,
        order_id,
    );
    let registered = registered.fetch_all(pool).await?;
    files.extend(registered.iter().map(|row| InvoiceStore::registered_name(&row.order_number, row.version)));
    Ok(files)
}

/// The same day some years later; the day before where there is none.
fn later(day: NaiveDate, years: i32) -> NaiveDate {
    let same = |day: NaiveDate| day.with_year(day.year() + years);
    same(day).or_else(|| same(day - Duration::days(1))).unwrap_or(NaiveDate::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_years_later_is_the_same_day() {
        let day = |text: &str| text.parse::<NaiveDate>().expect("a day");
        assert_eq!(later(day("2026-11-27"), 8), day("2034-11-27"));
        assert_eq!(later(day("2028-02-29"), 8), day("2036-02-29"));
        assert_eq!(later(day("2028-02-29"), 7), day("2035-02-28"));
    }
}
