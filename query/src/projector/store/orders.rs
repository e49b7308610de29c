//! Orders, and the facts and lines that reports add up.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use contracts::EntityType;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, column, email, query_models, search, seconds};
use crate::business_day::day_of;
use crate::projector::batch::Newest;
use crate::projector::columns::OrderColumns;
use crate::words::Words;

type Orders<'a> = Newest<'a, OrderColumns<'a>>;

pub(super) async fn write(conn: &mut PgConnection, models: Models, orders: &Orders<'_>) -> sqlx::Result<()> {
    let written = upsert(conn, models, orders).await?;
    if written.is_empty() {
        return Ok(());
    }
    let written: Vec<_> = written.iter().filter_map(|id| Some((*id, &orders.get(id)?.columns))).collect();
    upsert_facts(conn, models, &written).await?;
    let found_by: Vec<_> = written.iter().map(|(id, order)| (*id, order.created_at, words(order))).collect();
    search::write(conn, models, EntityType::Order, &found_by).await?;
    insert_lines(conn, models, &written).await
}

/// Upserts the documents; returns the ids of those that were new or newer than the stored ones.
async fn upsert(conn: &mut PgConnection, models: Models, orders: &Orders<'_>) -> sqlx::Result<Vec<Uuid>> {
    let rows = || orders.values();
    let ids: Vec<Uuid> = orders.keys().copied().collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let order_numbers: Vec<&str> = rows().map(|row| &*row.columns.order_number).collect();
    let customer_ids: Vec<&str> = rows().map(|row| &*row.columns.customer_id).collect();
    let states: Vec<&str> = rows().map(|row| &*row.columns.state).collect();
    let created: Vec<DateTime<Utc>> = rows().map(|row| row.columns.created_at).collect();
    let updated: Vec<DateTime<Utc>> = rows().map(|row| row.columns.updated_at).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    let emails: Vec<Option<String>> = rows().map(|row| email(row.columns.customer_email.as_deref())).collect();
    let payments: Vec<Option<&str>> = rows().map(|row| row.columns.payment_transaction_id.as_deref()).collect();
    let parcels: Vec<Option<&str>> = rows().map(|row| row.columns.tracking_number.as_deref()).collect();
    query_models!(
        models,
        query_scalar.fetch_all(conn),
        insert into "orders as known" r#"
            (id, version, order_number, customer_id, state, created_at, updated_at, document, email, payment_transaction_id, tracking_number)
        select id, version, order_number, customer_id, state, created_at, updated_at, document::json, email, payment, tracking
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::text[],
                    $9::text[], $10::text[], $11::text[])
            as incoming (id, version, order_number, customer_id, state, created_at, updated_at, document, email, payment, tracking)
        on conflict (id) do update
        set version = excluded.version, order_number = excluded.order_number, customer_id = excluded.customer_id,
            state = excluded.state, created_at = excluded.created_at, updated_at = excluded.updated_at,
            document = excluded.document, email = excluded.email,
            payment_transaction_id = excluded.payment_transaction_id, tracking_number = excluded.tracking_number
        where known.version < excluded.version
        returning id
        "#,
        &ids,
        &versions,
        &order_numbers as &[&str],
        &customer_ids as &[&str],
        &states as &[&str],
        &created,
        &updated,
        &documents as &[&str],
        &emails as &[Option<String>],
        &payments as &[Option<&str>],
        &parcels as &[Option<&str>],
    )
}

/// What an order is found by. Payment and parcel have columns: they come later, and are looked up whole.
fn words(order: &OrderColumns<'_>) -> Words {
    let mut words = Words::default();
    words.add_identifiers(
        [&*order.order_number, &*order.customer_id].into_iter().chain(order.customer_email.as_deref()),
    );
    for address in [&order.shipping_address, &order.billing_address].into_iter().flatten() {
        words.add_identifiers([&address.phone, &address.postal_code].into_iter().flatten().map(AsRef::as_ref));
        words.add_text([&address.name, &address.city].into_iter().flatten().map(AsRef::as_ref));
    }
    words.add_skus(order.items.iter().map(|item| &*item.sku));
    words.add_text(order.items.iter().map(|item| &*item.title));
    words
}

type Written<'r, 'a> = [(Uuid, &'r OrderColumns<'a>)];

async fn upsert_facts(conn: &mut PgConnection, models: Models, orders: &Written<'_, '_>) -> sqlx::Result<()> {
    query_models!(
        models,
        query.execute(conn),
        insert into "order_facts" r#"
            (order_id, currency, state, units, subtotal_minor, discount_minor, shipping_minor, tax_minor, total_minor,
             placed_on, sold_on, cancelled_on, pending_seconds, paid_seconds, processing_seconds, shipped_seconds)
        select * from unnest($1::uuid[], $2::text[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[],
                             $9::int8[], $10::date[], $11::date[], $12::date[], $13::int[], $14::int[], $15::int[], $16::int[])
        on conflict (order_id) do update
        set currency = excluded.currency, state = excluded.state, units = excluded.units,
            subtotal_minor = excluded.subtotal_minor, discount_minor = excluded.discount_minor,
            shipping_minor = excluded.shipping_minor, tax_minor = excluded.tax_minor, total_minor = excluded.total_minor,
            placed_on = excluded.placed_on, sold_on = excluded.sold_on, cancelled_on = excluded.cancelled_on,
            pending_seconds = excluded.pending_seconds, paid_seconds = excluded.paid_seconds,
            processing_seconds = excluded.processing_seconds, shipped_seconds = excluded.shipped_seconds
        "#,
        &column(orders, |(id, _)| *id),
        &column(orders, |(_, order)| &*order.currency) as &[&str],
        &column(orders, |(_, order)| &*order.state) as &[&str],
        &column(orders, |(_, order)| order.items.iter().map(|item| i64::from(item.quantity)).sum::<i64>()),
        &column(orders, |(_, order)| order.subtotal_minor),
        &column(orders, |(_, order)| order.discount_minor),
        &column(orders, |(_, order)| order.shipping_minor),
        &column(orders, |(_, order)| order.tax_minor),
        &column(orders, |(_, order)| order.total_minor),
        &column(orders, |(_, order)| day_of(order.created_at)),
        &column(orders, |(_, order)| order.paid_at.map(day_of)) as &[Option<NaiveDate>],
        &column(orders, |(_, order)| order.cancelled_at.map(day_of)) as &[Option<NaiveDate>],
        &column(orders, |(_, order)| seconds(Some(order.created_at), order.paid_at.or(order.cancelled_at)))
            as &[Option<i32>],
        &column(orders, |(_, order)| seconds(order.paid_at, order.processing_at.or(order.cancelled_at)))
            as &[Option<i32>],
        &column(orders, |(_, order)| seconds(order.processing_at, order.shipped_at.or(order.cancelled_at)))
            as &[Option<i32>],
        &column(orders, |(_, order)| seconds(order.shipped_at, order.delivered_at)) as &[Option<i32>],
    )?;
    Ok(())
}

/// The lines of paid orders. They never change, so they are written once.
async fn insert_lines(conn: &mut PgConnection, models: Models, orders: &Written<'_, '_>) -> sqlx::Result<()> {
    let paid: Vec<Uuid> = orders.iter().filter(|(_, order)| order.paid_at.is_some()).map(|(id, _)| *id).collect();
    if paid.is_empty() {
        return Ok(());
    }
    let known: HashSet<Uuid> = query_models!(
        models,
        query_scalar.fetch_all(&mut *conn),
        select "order_id" from "sold_lines" " where order_id = any($1) group by order_id",
        &paid,
    )?
    .into_iter()
    .collect();
    let sold = || orders.iter().filter(|(id, _)| !known.contains(id));
    let lines: Vec<_> = sold()
        .filter_map(|(id, order)| Some((*id, order, order.paid_at?)))
        .flat_map(|(id, order, paid_at)| order.items.iter().map(move |item| (id, order, day_of(paid_at), item)))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    query_models!(
        models,
        query.execute(conn),
        insert into "sold_lines" r#" (order_id, line_no, sold_on, currency, sku, title, quantity)
        select * from unnest($1::uuid[], $2::int[], $3::date[], $4::text[], $5::text[], $6::text[], $7::int[])
        on conflict do nothing
        "#,
        &column(&lines, |(id, ..)| *id),
        &column(&lines, |(.., item)| item.line_no),
        &column(&lines, |(_, _, day, _)| *day),
        &column(&lines, |(_, order, ..)| &*order.currency) as &[&str],
        &column(&lines, |(.., item)| &*item.sku) as &[&str],
        &column(&lines, |(.., item)| &*item.title) as &[&str],
        &column(&lines, |(.., item)| item.quantity),
    )?;
    Ok(())
}
