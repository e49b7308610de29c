//! The statements that write the read models: one per table and batch.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::batch::Batch;

/// Writes a batch, inside the caller's transaction. Always in this order of tables: see `Newest`.
pub(super) async fn write(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    if !batch.orders.is_empty() {
        upsert_orders(conn, batch).await?;
    }
    if !batch.returns.is_empty() {
        upsert_returns(conn, batch).await?;
    }
    if !batch.invoices.is_empty() {
        upsert_invoices(conn, batch).await?;
    }
    if !batch.credit_notes.is_empty() {
        upsert_credit_notes(conn, batch).await?;
    }
    if !batch.refunds.is_empty() {
        upsert_refunds(conn, batch).await?;
    }
    if !batch.history.is_empty() {
        insert_history(conn, batch).await?;
    }
    Ok(())
}

async fn upsert_orders(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let rows = || batch.orders.values();
    let ids: Vec<Uuid> = batch.orders.keys().copied().collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let order_numbers: Vec<&str> = rows().map(|row| &*row.columns.order_number).collect();
    let customer_ids: Vec<&str> = rows().map(|row| &*row.columns.customer_id).collect();
    let states: Vec<&str> = rows().map(|row| &*row.columns.state).collect();
    let created: Vec<DateTime<Utc>> = rows().map(|row| row.columns.created_at).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    sqlx::query!(
        r#"
        insert into read.orders as known (id, version, order_number, customer_id, state, created_at, document)
        select id, version, order_number, customer_id, state, created_at, document::json
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
            as incoming (id, version, order_number, customer_id, state, created_at, document)
        on conflict (id) do update
        set version = excluded.version, order_number = excluded.order_number, customer_id = excluded.customer_id,
            state = excluded.state, created_at = excluded.created_at, document = excluded.document
        where known.version < excluded.version
        "#,
        &ids,
        &versions,
        &order_numbers as &[&str],
        &customer_ids as &[&str],
        &states as &[&str],
        &created,
        &documents as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn upsert_returns(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let rows = || batch.returns.values();
    let ids: Vec<Uuid> = batch.returns.keys().copied().collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let order_ids: Vec<Uuid> = rows().map(|row| row.columns.order_id).collect();
    let order_numbers: Vec<&str> = rows().map(|row| &*row.columns.order_number).collect();
    let customer_ids: Vec<&str> = rows().map(|row| &*row.columns.customer_id).collect();
    let states: Vec<&str> = rows().map(|row| &*row.columns.state).collect();
    let created: Vec<DateTime<Utc>> = rows().map(|row| row.columns.created_at).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    sqlx::query!(
        r#"
        insert into read.returns as known
            (id, version, order_id, order_number, customer_id, state, created_at, document)
        select id, version, order_id, order_number, customer_id, state, created_at, document::json
        from unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::text[])
            as incoming (id, version, order_id, order_number, customer_id, state, created_at, document)
        on conflict (id) do update
        set version = excluded.version, order_id = excluded.order_id, order_number = excluded.order_number,
            customer_id = excluded.customer_id, state = excluded.state, created_at = excluded.created_at,
            document = excluded.document
        where known.version < excluded.version
        "#,
        &ids,
        &versions,
        &order_ids,
        &order_numbers as &[&str],
        &customer_ids as &[&str],
        &states as &[&str],
        &created,
        &documents as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn upsert_invoices(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let rows = || batch.invoices.values();
    let order_ids: Vec<Uuid> = batch.invoices.keys().copied().collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let paths: Vec<&str> = rows().map(|row| &*row.columns.path).collect();
    let hashes: Vec<&str> = rows().map(|row| &*row.columns.sha256).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    sqlx::query!(
        r#"
        insert into read.invoices as known (order_id, version, path, sha256, document)
        select order_id, version, path, sha256, document::json
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[])
            as incoming (order_id, version, path, sha256, document)
        on conflict (order_id) do update
        set version = excluded.version, path = excluded.path, sha256 = excluded.sha256, document = excluded.document
        where known.version < excluded.version
        "#,
        &order_ids,
        &versions,
        &paths as &[&str],
        &hashes as &[&str],
        &documents as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn upsert_credit_notes(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let rows = || batch.credit_notes.values();
    let return_ids: Vec<Uuid> = batch.credit_notes.keys().copied().collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let paths: Vec<&str> = rows().map(|row| &*row.columns.path).collect();
    let hashes: Vec<&str> = rows().map(|row| &*row.columns.sha256).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    sqlx::query!(
        r#"
        insert into read.credit_notes as known (return_id, version, path, sha256, document)
        select return_id, version, path, sha256, document::json
        from unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[])
            as incoming (return_id, version, path, sha256, document)
        on conflict (return_id) do update
        set version = excluded.version, path = excluded.path, sha256 = excluded.sha256, document = excluded.document
        where known.version < excluded.version
        "#,
        &return_ids,
        &versions,
        &paths as &[&str],
        &hashes as &[&str],
        &documents as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn upsert_refunds(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let return_ids: Vec<Uuid> = batch.refunds.keys().copied().collect();
    let versions: Vec<i32> = batch.refunds.values().map(|row| row.version).collect();
    let documents: Vec<&str> = batch.refunds.values().map(|row| row.document).collect();
    sqlx::query!(
        r#"
        insert into read.refunds as known (return_id, version, document)
        select return_id, version, document::json
        from unnest($1::uuid[], $2::int[], $3::text[]) as incoming (return_id, version, document)
        on conflict (return_id) do update
        set version = excluded.version, document = excluded.document
        where known.version < excluded.version
        "#,
        &return_ids,
        &versions,
        &documents as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_history(conn: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let keys = || batch.history.keys();
    let types: Vec<&str> = keys().map(|(aggregate_type, _, _)| *aggregate_type).collect();
    let ids: Vec<Uuid> = keys().map(|(_, id, _)| *id).collect();
    let versions: Vec<i32> = keys().map(|(_, _, version)| *version).collect();
    let entries: Vec<&str> = batch.history.values().copied().collect();
    sqlx::query!(
        r#"
        insert into read.history (aggregate_type, aggregate_id, version, entry)
        select aggregate_type, aggregate_id, version, entry::json
        from unnest($1::text[], $2::uuid[], $3::int[], $4::text[])
            as incoming (aggregate_type, aggregate_id, version, entry)
        on conflict do nothing
        "#,
        &types as &[&str],
        &ids,
        &versions,
        &entries as &[&str],
    )
    .execute(conn)
    .await?;
    Ok(())
}
