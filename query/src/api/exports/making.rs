//! An export that is being made: its rows become parts of a file, which are stored as soon as they are long enough.

use runtime::database::limited;
use serde::Serialize;
use sqlx::PgPool;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::error::ExportError;
use super::file::Sheet;
use super::store;

/// Bytes of one part of a file.
const PART: usize = 1024 * 1024;
/// Bytes of the longest file.
const MAX_BYTES: i64 = 1024 * 1024 * 1024;

/// An export that is being made.
pub(super) struct Making<'e> {
    read: &'e PgPool,
    id: Uuid,
    owner: Uuid,
    part_no: i32,
    /// Written, and not stored yet.
    pending: Vec<u8>,
    rows: i64,
    bytes: i64,
}

impl<'e> Making<'e> {
    pub(super) const fn new(read: &'e PgPool, id: Uuid, owner: Uuid) -> Self {
        Self { read, id, owner, part_no: 0, pending: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Rows and bytes so far.
    pub(super) const fn written(&self) -> (i64, i64) {
        (self.rows, self.bytes)
    }

    /// Writes rows into the sheet, and stores what has become long enough.
    pub(super) async fn write<Row>(&mut self, mut sheet: Sheet, rows: Vec<Row>) -> Result<Sheet, ExportError>
    where
        Row: Serialize + Default + Send + 'static,
    {
        self.rows += i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let writing = spawn_blocking(move || sheet.write(&rows).map(|text| (sheet, text)));
        let (sheet, text) = writing.await.map_err(ExportError::file)??;
        self.store(text, false).await?;
        Ok(sheet)
    }

    /// Stores what was written, whole parts of it or all.
    pub(super) async fn store(&mut self, text: Vec<u8>, is_last: bool) -> Result<(), ExportError> {
        self.pending.extend(text);
        while self.pending.len() >= PART || is_last && !self.pending.is_empty() {
            let part: Vec<u8> = self.pending.drain(..PART.min(self.pending.len())).collect();
            self.bytes += i64::try_from(part.len()).unwrap_or(i64::MAX);
            if self.bytes > MAX_BYTES {
                let message = format!("a file has at most {MAX_BYTES} bytes; ask for a shorter period");
                return Err(ExportError::TooLarge(message));
            }
            let part = store::Part { place: self.part_no, content: &part, rows: self.rows, bytes: self.bytes };
            if !limited(store::insert_part(self.read, self.id, self.owner, &part)).await? {
                return Err(ExportError::NotOurs);
            }
            self.part_no += 1;
        }
        Ok(())
    }
}
