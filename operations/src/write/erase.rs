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
use sqlx::PgPool;
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

/// Erases what is known of a customer. What tax documents print goes too where they are older than `tax_years`.
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
    let orders = orders_of(pool, customer).await?;
    let named = names_of(pool, customer).await?;
    if orders.is_empty() && named.is_empty() {
        return Err(OperationError::CustomerNotFound(customer.as_str().to_owned()));
    }
    refuse_during_rebuild(pool).await?;
    let now = clock.now();
    let mut known = Vec::new();
    for order in &orders {
        let (order_id, invoiced_at) = (order.id, order.invoiced_at);
        let until = invoiced_at.map(|at| later(day_in_india(at), tax_years));
        let parts = at_rest(pool, order_id).await?;
        let is_due = until.is_some_and(|until| until <= day_in_india(now));
        known.push((order_id, parts, until, is_due));
    }
    let pseudonym = format!("erased-{}", &Ids::system().next().simple().to_string()[20..]);
    let keys_revoked = start(pool, customer, &pseudonym, &orders, operator.clone()).await?;
    for is_due in [false, true] {
        let ids: Vec<Uuid> = known
            .iter()
            .filter(|known| known.3 == is_due)
            .flat_map(|known| known.1.iter().map(|part| part.id))
            .collect();
        erase_events(pool, ids, &pseudonym, is_due).await?;
    }
    let mut named = named;
    named.push(customer.as_str().to_owned());
    let mut documents_until = None;
    for (order_id, _, until, is_due) in known {
        let erasure = Erasure {
            order_id,
            pseudonym: pseudonym.clone(),
            named: named.clone(),
            tax: is_due,
            at: now,
            until: until.filter(|_| !is_due),
            operator: operator.clone(),
        };
        documents_until = documents_until.max(erasure.until);
        in_transaction(pool, move |conn| Box::pin(erasure.run(conn))).await?;
    }
    hints::wake_relays(pool).await;
    Ok(Erased { pseudonym, orders: orders.len() as u64, keys_revoked, documents_until })
}

/// Erases what invoices and credit notes of erased customers print, where the law asks for it no longer, and removes their PDFs.
/// Returns of how many orders.
///
/// # Errors
/// When the database or the store fails: it can be repeated.
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
    for order in &due {
        let (order_id, pseudonym) = (order.order_id, order.pseudonym.clone());
        let parts = at_rest(pool, order_id).await?;
        let ids: Vec<Uuid> = parts.iter().map(|part| part.id).collect();
        // A run that was interrupted has done this already.
        if !is_erased(pool, order_id).await? {
            erase_events(pool, ids.clone(), &pseudonym, true).await?;
            let erasure = Erasure {
                order_id,
                pseudonym: pseudonym.clone(),
                named: vec![pseudonym.clone()],
                tax: true,
                at: now,
                until: None,
                operator: operator.clone(),
            };
            in_transaction(pool, move |conn| Box::pin(erasure.run(conn))).await?;
        }
        for name in files_of(pool, order_id, &ids).await? {
            match store.remove(&name).await {
                Ok(()) | Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(OperationError::NotErasable(format!("{name} cannot be removed: {error}"))),
            }
        }
        sqlx::query!("update command.erasures set documents_erased_at = $2 where order_id = $1", order_id, now)
            .execute(pool)
            .await?;
    }
    if !due.is_empty() {
        let ids: Vec<Uuid> = due.iter().map(|order| order.order_id).collect();
        let rows = due.len() as u64;
        in_transaction(pool, move |conn| {
            Box::pin(async move {
                record(conn, &operator, Action::EraseDocuments, json!({ "orders": ids }), rows).await?;
                Ok::<_, OperationError>(())
            })
        })
        .await?;
        hints::wake_relays(pool).await;
    }
    Ok(due.len() as u64)
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

async fn refuse_during_rebuild(pool: &PgPool) -> Result<(), OperationError> {
    let rebuilding = sqlx::query_scalar!(r#"select until > clock_timestamp() as "alive!" from read.rebuild"#)
        .fetch_optional(pool)
        .await?;
    if rebuilding == Some(true) {
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
                set name = $2 || '-' || left(id::text, 8), customer_id = $2, created_by = 'erased',
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

/// Rewrites what the log keeps of these aggregates.
async fn erase_events(pool: &PgPool, ids: Vec<Uuid>, pseudonym: &str, tax: bool) -> Result<(), OperationError> {
    if ids.is_empty() {
        return Ok(());
    }
    let pseudonym = pseudonym.to_owned();
    in_transaction(pool, move |conn| {
        Box::pin(async move {
            sqlx::query(SLOW).execute(&mut *conn).await?;
            sqlx::query!("select messaging.erase_events($1, $2, $3)", &ids, pseudonym, tax).fetch_one(conn).await?;
            Ok::<_, OperationError>(())
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

/// The PDFs of an order: every edition of its invoice, and its credit notes.
async fn files_of(pool: &PgPool, order_id: Uuid, ids: &[Uuid]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
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
    .await
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
