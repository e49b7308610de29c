//! Returns, and the facts and lines that reports add up.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use contracts::EntityType;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, column, email, query_models, search, seconds};
use crate::business_day::day_of;
use crate::projector::batch::Newest;
use crate::projector::columns::ReturnColumns;
use crate::words::Words;

type Returns<'a> = Newest<'a, ReturnColumns<'a>>;

pub(super) async fn write(conn: &mut PgConnection, models: Models, returns: &Returns<'_>) -> sqlx::Result<()> {
    let written = upsert(conn, models, returns).await?;
    if written.is_empty() {
        return Ok(());
    }
    let written: Vec<_> = written.iter().filter_map(|id| Some((*id, &returns.get(id)?.columns))).collect();
    upsert_facts(conn, models, &written).await?;
    let found_by: Vec<_> = written.iter().map(|(id, returned)| (*id, returned.created_at, words(returned))).collect();
    search::write(conn, models, EntityType::Return, &found_by).await?;
    upsert_lines(conn, models, &written).await
}

/// What a return is found by.
fn words(returned: &ReturnColumns<'_>) -> Words {
    let mut words = Words::default();
    let email = returned.customer_email.as_deref();
    words.add_identifiers([&*returned.order_number, &*returned.customer_id].into_iter().chain(email));
    words.add_skus(returned.items.iter().map(|item| &*item.sku));
    words.add_text(returned.items.iter().map(|item| &*item.title));
    words
}

/// Upserts the documents; returns the ids of those that were new or newer than the stored ones.
async fn upsert(conn: &mut PgConnection, models: Models, returns: &Returns<'_>) -> sqlx::Result<Vec<Uuid>> {
    let rows = || returns.values();
    let ids: Vec<Uuid> = returns.keys().copied().collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let order_ids: Vec<Uuid> = rows().map(|row| row.columns.order_id).collect();
    let order_numbers: Vec<&str> = rows().map(|row| &*row.columns.order_number).collect();
    let customer_ids: Vec<&str> = rows().map(|row| &*row.columns.customer_id).collect();
    let states: Vec<&str> = rows().map(|row| &*row.columns.state).collect();
    let created: Vec<DateTime<Utc>> = rows().map(|row| row.columns.created_at).collect();
    let updated: Vec<DateTime<Utc>> = rows().map(|row| row.columns.updated_at).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    let emails: Vec<Option<String>> = rows().map(|row| email(row.columns.customer_email.as_deref())).collect();
    let parcels: Vec<Option<&str>> = rows().map(|row| row.columns.tracking_number.as_deref()).collect();
    query_models!(
        models,
        query_scalar.fetch_all(conn),
        insert into "returns as known" r#"
            (id, version, order_id, order_number, customer_id, state, created_at, updated_at, document, email, tracking_number)
        select id, version, order_id, order_number, customer_id, state, created_at, updated_at, document::json, email, tracking
        from unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
                    $9::text[], $10::text[], $11::text[])
            as incoming (id, version, order_id, order_number, customer_id, state, created_at, updated_at, document, email, tracking)
        on conflict (id) do update
        set version = excluded.version, order_id = excluded.order_id, order_number = excluded.order_number,
            customer_id = excluded.customer_id, state = excluded.state, created_at = excluded.created_at,
            updated_at = excluded.updated_at, document = excluded.document, email = excluded.email,
            tracking_number = excluded.tracking_number
        where known.version < excluded.version
        returning id
        "#,
        &ids,
        &versions,
        &order_ids,
        &order_numbers as &[&str],
        &customer_ids as &[&str],
        &states as &[&str],
        &created,
        &updated,
        &documents as &[&str],
        &emails as &[Option<String>],
        &parcels as &[Option<&str>],
    )
}

type Written<'r, 'a> = [(Uuid, &'r ReturnColumns<'a>)];

async fn upsert_facts(conn: &mut PgConnection, models: Models, returns: &Written<'_, '_>) -> sqlx::Result<()> {
    query_models!(
        models,
        query.execute(conn),
        insert into "return_facts" r#"
            (return_id, order_id, currency, state, amount_minor, requested_on, completed_on,
             requested_seconds, approved_seconds, in_transit_seconds, received_seconds)
        select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int8[], $6::date[], $7::date[],
                             $8::int[], $9::int[], $10::int[], $11::int[])
        on conflict (return_id) do update
        set order_id = excluded.order_id, currency = excluded.currency, state = excluded.state,
            amount_minor = excluded.amount_minor, requested_on = excluded.requested_on,
            completed_on = excluded.completed_on, requested_seconds = excluded.requested_seconds,
            approved_seconds = excluded.approved_seconds, in_transit_seconds = excluded.in_transit_seconds,
            received_seconds = excluded.received_seconds
        "#,
        &column(returns, |(id, _)| *id),
        &column(returns, |(_, returned)| returned.order_id),
        &column(returns, |(_, returned)| &*returned.currency) as &[&str],
        &column(returns, |(_, returned)| &*returned.state) as &[&str],
        &column(returns, |(_, returned)| returned.refund_amount_minor),
        &column(returns, |(_, returned)| day_of(returned.created_at)),
        &column(returns, |(_, returned)| returned.completed_at.map(day_of)) as &[Option<NaiveDate>],
        &column(returns, |(_, r)| seconds(Some(r.created_at), r.approved_at.or(r.rejected_at))) as &[Option<i32>],
        &column(returns, |(_, returned)| seconds(returned.approved_at, returned.in_transit_at)) as &[Option<i32>],
        &column(returns, |(_, returned)| seconds(returned.in_transit_at, returned.received_at)) as &[Option<i32>],
        &column(returns, |(_, returned)| seconds(returned.received_at, returned.completed_at)) as &[Option<i32>],
    )?;
    Ok(())
}

/// The lines of returns. They change when the warehouse has counted the units, and when the return is completed.
async fn upsert_lines(conn: &mut PgConnection, models: Models, returns: &Written<'_, '_>) -> sqlx::Result<()> {
    let known: HashMap<Uuid, i32> = query_models!(
        models,
        query_scalar.fetch_all(&mut *conn),
        select r#"return_id::text || ' ' || max(line_no) as "known!""# from "return_lines" " where return_id = any($1) group by return_id",
        &column(returns, |(id, _)| *id),
    )?
    .iter()
    .filter_map(|known| known.split_once(' '))
    .filter_map(|(id, lines)| Some((id.parse().ok()?, lines.parse().ok()?)))
    .collect();
    let mut lines = Vec::new();
    for (id, returned) in returns {
        let known = known.get(id).copied().unwrap_or(0);
        // Erased lines have no reasons.
        let has_reasons = returned.reason.is_some() || returned.items.iter().any(|item| item.reason.is_some());
        if known > 0 && returned.received_at.is_none() && has_reasons {
            continue;
        }
        for (line_no, item) in (1_i32..).zip(&returned.items) {
            let reason = item.reason.as_deref().or(returned.reason.as_deref());
            let units = item.quantity - item.missing_quantity;
            lines.push((*id, line_no, &*item.sku, &*item.title, reason, units, item.amount_minor));
        }
        // A line that is gone was one that refunded shipping only.
        let count = i32::try_from(returned.items.len()).unwrap_or(i32::MAX);
        lines.extend((count + 1..=known).map(|line_no| (*id, line_no, "", "", None, 0, 0)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    query_models!(
        models,
        query.execute(conn),
        insert into "return_lines as known" r#" (return_id, line_no, sku, title, reason, quantity, amount_minor)
        select * from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int8[])
        on conflict (return_id, line_no) do update
        set sku = excluded.sku, title = excluded.title, reason = excluded.reason, quantity = excluded.quantity,
            amount_minor = excluded.amount_minor
        where (known.sku, known.reason, known.quantity, known.amount_minor)
              is distinct from (excluded.sku, excluded.reason, excluded.quantity, excluded.amount_minor)
        "#,
        &column(&lines, |(id, ..)| *id),
        &column(&lines, |(_, line_no, ..)| *line_no),
        &column(&lines, |(_, _, sku, ..)| *sku) as &[&str],
        &column(&lines, |(_, _, _, title, ..)| *title) as &[&str],
        &column(&lines, |(_, _, _, _, reason, ..)| *reason) as &[Option<&str>],
        &column(&lines, |(.., units, _)| *units),
        &column(&lines, |(.., amount)| *amount),
    )?;
    Ok(())
}
