//! The SQL of exports.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use runtime::database::interval;
use sqlx::PgPool;
use uuid::Uuid;

use super::{ExportFormat, ExportKind, ExportStatus};

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'w> {
    pub(super) kind: ExportKind,
    pub(super) format: ExportFormat,
    pub(super) from: Option<NaiveDate>,
    pub(super) to: Option<NaiveDate>,
    pub(super) requested_by: &'w str,
}

/// An export.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) id: Uuid,
    pub(super) kind: ExportKind,
    pub(super) format: ExportFormat,
    pub(super) from: Option<NaiveDate>,
    pub(super) to: Option<NaiveDate>,
    pub(super) status: ExportStatus,
    pub(super) rows: i64,
    pub(super) bytes: i64,
    pub(super) error: Option<String>,
    pub(super) requested_by: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) expires_at: Option<DateTime<Utc>>,
}

/// An export to make.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: Uuid,
    pub(super) kind: ExportKind,
    pub(super) format: ExportFormat,
    pub(super) from: Option<NaiveDate>,
    pub(super) to: Option<NaiveDate>,
    /// From 1.
    pub(super) attempt: i32,
}

/// A part of a file, and how much was written with it.
#[derive(Debug)]
pub(super) struct Part<'p> {
    /// Its place in the file, from 0.
    pub(super) place: i32,
    pub(super) content: &'p [u8],
    pub(super) rows: i64,
    pub(super) bytes: i64,
}

/// Inserts an export, or finds the same one that has not started. `None`: the caller has too many.
pub(super) async fn insert(
    read: &PgPool,
    id: Uuid,
    wanted: &Wanted<'_>,
    now: DateTime<Utc>,
    max_open: i64,
) -> sqlx::Result<Option<Uuid>> {
    let Wanted { kind, format, from, to, requested_by } = *wanted;
    sqlx::query_scalar!(
        r#"
        with same as (
            select id from read.exports
            where status = 'PENDING' and kind = $2 and format = $3 and from_day is not distinct from $4
              and to_day is not distinct from $5 and requested_by = $6
            order by created_at limit 1
        ), added as (
            insert into read.exports (id, kind, format, from_day, to_day, requested_by, created_at)
            select $1, $2, $3, $4, $5, $6, $7
            where not exists (select from same)
              and (select count(*) from read.exports where status in ('PENDING', 'RUNNING') and requested_by = $6) < $8
            returning id
        )
        select id as "id!" from same union all select id from added
        "#,
        id,
        kind.as_str(),
        format.as_str(),
        from,
        to,
        requested_by,
        now,
        max_open,
    )
    .fetch_optional(read)
    .await
}

pub(super) async fn find(read: &PgPool, id: Uuid) -> sqlx::Result<Option<Export>> {
    sqlx::query_as!(
        Export,
        r#"
        select id, kind as "kind: ExportKind", format as "format: ExportFormat", from_day as "from", to_day as "to",
               status as "status: ExportStatus", rows, bytes, error, requested_by, created_at, finished_at, expires_at
        from read.exports where id = $1
        "#,
        id,
    )
    .fetch_optional(read)
    .await
}

/// The newest of these kinds.
pub(super) async fn newest(read: &PgPool, kinds: &[&str], limit: i64) -> sqlx::Result<Vec<Export>> {
    sqlx::query_as!(
        Export,
        r#"
        select id, kind as "kind: ExportKind", format as "format: ExportFormat", from_day as "from", to_day as "to",
               status as "status: ExportStatus", rows, bytes, error, requested_by, created_at, finished_at, expires_at
        from read.exports where kind = any($1::text[]) order by created_at desc, id desc limit $2
        "#,
        kinds as &[&str],
        limit,
    )
    .fetch_all(read)
    .await
}

/// Takes the oldest export that belongs to no process, without what earlier attempts have written.
pub(super) async fn claim(read: &PgPool, owner: Uuid, owned_for: Duration) -> sqlx::Result<Option<Task>> {
    let mut tx = read.begin().await?;
    let task = sqlx::query_as!(
        Task,
        r#"
        with next as (
            select id from read.exports
            where status = 'PENDING' and retry_at <= now() or status = 'RUNNING' and owned_until < now()
            order by created_at limit 1 for update skip locked
        )
        update read.exports
        set status = 'RUNNING', owner = $1, owned_until = now() + $2, attempts = attempts + 1, rows = 0, bytes = 0
        from next where exports.id = next.id
        returning exports.id, kind as "kind: ExportKind", format as "format: ExportFormat", from_day as "from", to_day as "to",
                  attempts as attempt
        "#,
        owner,
        interval(owned_for),
    )
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(task) = &task {
        // A statement of its own: it sees what an earlier owner has stored until a moment ago, and that one stores nothing more.
        sqlx::query!("delete from read.export_parts where export_id = $1", task.id).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(task)
}

/// `false`: it is another's.
pub(super) async fn renew(read: &PgPool, id: Uuid, owner: Uuid, owned_for: Duration) -> sqlx::Result<bool> {
    let renewed = sqlx::query!(
        "update read.exports set owned_until = now() + $3 where id = $1 and owner = $2 and status = 'RUNNING'",
        id,
        owner,
        interval(owned_for),
    );
    Ok(renewed.execute(read).await?.rows_affected() == 1)
}

/// `false`: the export is another's, and the part is not stored.
pub(super) async fn insert_part(read: &PgPool, id: Uuid, owner: Uuid, part: &Part<'_>) -> sqlx::Result<bool> {
    let inserted = sqlx::query!(
        "with ours as (
             update read.exports set rows = $5, bytes = $6 where id = $1 and owner = $2 and status = 'RUNNING' returning id
         )
         insert into read.export_parts (export_id, part_no, content) select id, $3, $4 from ours",
        id,
        owner,
        part.place,
        part.content,
        part.rows,
        part.bytes,
    );
    Ok(inserted.execute(read).await?.rows_affected() == 1)
}

/// `false`: it is another's.
pub(super) async fn finish(
    read: &PgPool,
    id: Uuid,
    owner: Uuid,
    (rows, bytes): (i64, i64),
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let finished = sqlx::query!(
        "update read.exports set status = 'READY', rows = $3, bytes = $4, finished_at = $5, expires_at = $6, owner = null
         where id = $1 and owner = $2 and status = 'RUNNING'",
        id,
        owner,
        rows,
        bytes,
        now,
        expires_at,
    );
    Ok(finished.execute(read).await?.rows_affected() == 1)
}

/// Puts a failed attempt off.
pub(super) async fn retry(read: &PgPool, id: Uuid, owner: Uuid, wait: Duration) -> sqlx::Result<()> {
    let again = sqlx::query!(
        "update read.exports set status = 'PENDING', owner = null, retry_at = now() + $3
         where id = $1 and owner = $2 and status = 'RUNNING'",
        id,
        owner,
        interval(wait),
    );
    again.execute(read).await?;
    Ok(())
}

/// Leaves it to another process; the attempt does not count.
pub(super) async fn give_back(read: &PgPool, id: Uuid, owner: Uuid) -> sqlx::Result<()> {
    let given = sqlx::query!(
        "update read.exports set status = 'PENDING', owner = null, attempts = attempts - 1
         where id = $1 and owner = $2 and status = 'RUNNING'",
        id,
        owner,
    );
    given.execute(read).await?;
    Ok(())
}

pub(super) async fn fail(read: &PgPool, id: Uuid, owner: Uuid, error: &str, now: DateTime<Utc>) -> sqlx::Result<()> {
    let failed = sqlx::query!(
        "with failed as (
             update read.exports set status = 'FAILED', error = $3, finished_at = $4, owner = null
             where id = $1 and owner = $2 and status = 'RUNNING' returning id
         )
         delete from read.export_parts using failed where export_id = failed.id",
        id,
        owner,
        error,
        now,
    );
    failed.execute(read).await?;
    Ok(())
}

/// Deletes files that are old enough, and exports that ended before `forget`.
pub(super) async fn delete_expired(read: &PgPool, now: DateTime<Utc>, forget: DateTime<Utc>) -> sqlx::Result<()> {
    let deleted = sqlx::query!(
        "with expired as (
             update read.exports set status = 'EXPIRED' where status = 'READY' and expires_at <= $1 returning id
         ), parts as (
             delete from read.export_parts
             where export_id not in (select id from read.exports where status in ('RUNNING', 'READY'))
                or export_id in (select id from expired)
         )
         delete from read.exports where finished_at < $2 and status in ('FAILED', 'EXPIRED')",
        now,
        forget,
    );
    deleted.execute(read).await?;
    Ok(())
}

/// A part of a file that is ready.
pub(super) async fn part(read: &PgPool, id: Uuid, part_no: i32) -> sqlx::Result<Option<Vec<u8>>> {
    let part =
        sqlx::query_scalar!("select content from read.export_parts where export_id = $1 and part_no = $2", id, part_no);
    part.fetch_optional(read).await
}
