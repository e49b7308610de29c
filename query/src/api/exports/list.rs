//! Lists are read page by page, so that no snapshot is held while a long file is made.

use std::time::Duration;

use chrono::NaiveDate;
use runtime::database;
use serde::Serialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::error::ExportError;
use super::file::Sheet;
use super::making::Making;
use crate::api::reports::{Period, begin_reading};

/// Rows of one page.
pub(super) const PAGE: i64 = 2_000;
/// The longest statement.
const WITHIN: Duration = Duration::from_mins(10);

pub(super) async fn begin(read: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tx = begin_reading(read).await?;
    database::limit_statements(&mut tx, WITHIN).await?;
    Ok(tx)
}

/// Where a list goes on. No member of it ever changes, so a row that is there the whole time is exported exactly once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) day: NaiveDate,
    pub(super) id: Uuid,
    pub(super) line_no: i32,
}

/// A row of a list.
pub(super) trait Row: Serialize + Default + Send + 'static {
    fn place(&self) -> Place;

    /// The rows after a place, in its order.
    async fn page(conn: &mut PgConnection, after: Place, last: NaiveDate) -> sqlx::Result<Vec<Self>>
    where
        Self: Sized;
}

pub(super) async fn list<R: Row>(
    read: &PgPool,
    period: Period,
    mut sheet: Sheet,
    making: &mut Making<'_>,
) -> Result<Sheet, ExportError> {
    let mut after = Place { day: period.first(), id: Uuid::nil(), line_no: -1 };
    loop {
        let mut tx = begin(read).await?;
        let rows = R::page(&mut tx, after, period.last()).await?;
        tx.commit().await?;
        let is_last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        if let Some(last) = rows.last() {
            after = last.place();
        }
        sheet = making.write(sheet, rows).await?;
        if is_last {
            return Ok(sheet);
        }
    }
}
