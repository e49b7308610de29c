//! Lists are read page by page, so that no snapshot is held while a long file is made.

use std::time::Duration;

use chrono::NaiveDate;
use runtime::database;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::error::ExportError;
use super::file::Sheet;
use super::making::Making;
use crate::api::reports::{Period, begin_reading};

/// Rows of one page.
pub(super) const PAGE: i64 = 2_000;
/// The longest statement. A rebuild that waits for its tables gives up after two minutes.
const WITHIN: Duration = Duration::from_secs(60);
/// After this the network has forgotten the connection.
const AT_MOST: Duration = Duration::from_secs(75);

/// Reads in a transaction of its own, which ends in any case.
pub(super) async fn read_in<T>(
    read: &PgPool,
    statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
) -> sqlx::Result<T> {
    database::within(AT_MOST, async {
        let mut tx = begin_reading(read).await?;
        database::limit_statements(&mut tx, WITHIN).await?;
        let rows = statement(&mut tx).await?;
        tx.commit().await?;
        Ok(rows)
    })
    .await
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
    fn page(
        conn: &mut PgConnection,
        after: Place,
        last: NaiveDate,
    ) -> impl Future<Output = sqlx::Result<Vec<Self>>> + Send
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
        let rows = read_in(read, async |conn| R::page(conn, after, period.last()).await).await?;
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
