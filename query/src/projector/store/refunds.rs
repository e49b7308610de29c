//! Refunds.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, email, query_models};
use crate::business_day::day_of;
use crate::projector::batch::Newest;
use crate::projector::columns::RefundColumns;

pub(super) async fn write(
    conn: &mut PgConnection,
    models: Models,
    refunds: &Newest<'_, RefundColumns<'_>>,
) -> sqlx::Result<()> {
    let rows = || refunds.values();
    let ids: Vec<Uuid> = refunds.keys().copied().collect();
    let order_ids: Vec<Uuid> = rows().map(|row| row.columns.order_id).collect();
    let return_ids: Vec<Option<Uuid>> = rows().map(|row| row.columns.return_id).collect();
    let customers: Vec<&str> = rows().map(|row| &*row.columns.customer_id).collect();
    let created: Vec<DateTime<Utc>> = rows().map(|row| row.columns.created_at).collect();
    let updated: Vec<DateTime<Utc>> = rows().map(|row| row.columns.updated_at).collect();
    let numbers: Vec<&str> = rows().map(|row| &*row.columns.order_number).collect();
    let emails: Vec<Option<String>> = rows().map(|row| email(row.columns.customer_email.as_deref())).collect();
    let payments: Vec<Option<&str>> = rows().map(|row| row.columns.payment_transaction_id.as_deref()).collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let kinds: Vec<&str> = rows().map(|row| &*row.columns.kind).collect();
    let made: Vec<NaiveDate> = rows().map(|row| day_of(row.columns.created_at)).collect();
    let statuses: Vec<&str> = rows().map(|row| &*row.columns.status).collect();
    let amounts: Vec<i64> = rows().map(|row| row.columns.amount_minor).collect();
    let currencies: Vec<&str> = rows().map(|row| &*row.columns.currency).collect();
    let processed: Vec<Option<NaiveDate>> = rows().map(|row| row.columns.processed_at.map(day_of)).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    query_models!(
        models,
        query.execute(conn),
        insert into "refunds as known" r#"
            (id, version, order_id, return_id, kind, state, amount_minor, currency, created_at, made_on, processed_on, document, customer_id,
             updated_at, order_number, email, payment_transaction_id)
        select id, version, order_id, return_id, kind, state, amount_minor, currency, created_at, made_on, processed_on, document::json, customer_id,
               updated_at, order_number, email, payment
        from unnest($1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int8[], $8::text[], $9::timestamptz[],
                    $10::date[], $11::date[], $12::text[], $13::text[], $14::timestamptz[], $15::text[], $16::text[], $17::text[])
            as incoming (id, version, order_id, return_id, kind, state, amount_minor, currency, created_at, made_on, processed_on, document, customer_id,
                         updated_at, order_number, email, payment)
        on conflict (id) do update
        set version = excluded.version, order_id = excluded.order_id, return_id = excluded.return_id, kind = excluded.kind, state = excluded.state,
            amount_minor = excluded.amount_minor, currency = excluded.currency, created_at = excluded.created_at,
            made_on = excluded.made_on, processed_on = excluded.processed_on, document = excluded.document, customer_id = excluded.customer_id,
            updated_at = excluded.updated_at, order_number = excluded.order_number, email = excluded.email,
            payment_transaction_id = excluded.payment_transaction_id
        where known.version < excluded.version
        "#,
        &ids,
        &versions,
        &order_ids,
        &return_ids as &[Option<Uuid>],
        &kinds as &[&str],
        &statuses as &[&str],
        &amounts,
        &currencies as &[&str],
        &created,
        &made,
        &processed as &[Option<NaiveDate>],
        &documents as &[&str],
        &customers as &[&str],
        &updated,
        &numbers as &[&str],
        &emails as &[Option<String>],
        &payments as &[Option<&str>],
    )?;
    Ok(())
}
