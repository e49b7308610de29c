//! Refunds.

use chrono::NaiveDate;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Models, query_models};
use crate::business_day::day_of;
use crate::projector::batch::Newest;
use crate::projector::columns::RefundColumns;

pub(super) async fn write(
    conn: &mut PgConnection,
    models: Models,
    refunds: &Newest<'_, RefundColumns<'_>>,
) -> sqlx::Result<()> {
    let rows = || refunds.values();
    let return_ids: Vec<Uuid> = refunds.keys().copied().collect();
    let versions: Vec<i32> = rows().map(|row| row.version).collect();
    let statuses: Vec<&str> = rows().map(|row| &*row.columns.status).collect();
    let amounts: Vec<i64> = rows().map(|row| row.columns.amount_minor).collect();
    let currencies: Vec<&str> = rows().map(|row| &*row.columns.currency).collect();
    let processed: Vec<Option<NaiveDate>> = rows().map(|row| row.columns.processed_at.map(day_of)).collect();
    let documents: Vec<&str> = rows().map(|row| row.document).collect();
    query_models!(
        models,
        query.execute(conn),
        insert into "refunds as known" r#" (return_id, version, status, amount_minor, currency, processed_on, document)
        select return_id, version, status, amount_minor, currency, processed_on, document::json
        from unnest($1::uuid[], $2::int[], $3::text[], $4::int8[], $5::text[], $6::date[], $7::text[])
            as incoming (return_id, version, status, amount_minor, currency, processed_on, document)
        on conflict (return_id) do update
        set version = excluded.version, status = excluded.status, amount_minor = excluded.amount_minor,
            currency = excluded.currency, processed_on = excluded.processed_on, document = excluded.document
        where known.version < excluded.version
        "#,
        &return_ids,
        &versions,
        &statuses as &[&str],
        &amounts,
        &currencies as &[&str],
        &processed as &[Option<NaiveDate>],
        &documents as &[&str],
    )?;
    Ok(())
}
