//! Issues a document: gives it a number, prints its HTML as a PDF and stores the file.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use contracts::InvalidNumber;
use maud::Markup;
use messaging::worker::Failure;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use storage::{InvoiceStore, StoreError};

use super::layout::Brand;
use super::numbering::series_at;
use super::store;
use crate::pdf::{PdfError, Renderer, reproducible};

/// What every kind of document needs.
#[derive(Debug, Clone)]
pub(crate) struct DocumentIssuer {
    pub(crate) renderer: Renderer,
    pub(crate) files: InvoiceStore,
    pub(crate) brand: Brand,
}

impl DocumentIssuer {
    /// The next number of this year's series. The caller's transaction holds the series until it ends, and takes the
    /// number when it commits: so the series has no gap, and no number is given twice.
    pub(crate) async fn next_number(
        &self,
        conn: &mut PgConnection,
        prefix: &str,
        at: DateTime<Utc>,
    ) -> Result<String, Failure> {
        let dead = |error: InvalidNumber| Failure::Dead(error.to_string());
        let series = series_at(prefix, at).map_err(dead)?;
        let n = store::next_in_series(conn, series.name()).await?.unsigned_abs();
        let left = f64::from(series.last().saturating_sub(n));
        metrics::gauge!("document_numbers_left", "series" => series.name().to_owned()).set(left);
        series.number(n).map_err(dead)
    }

    /// The document as a PDF. Every attempt returns the same bytes.
    pub(crate) async fn print(&self, html: Markup, issued_at: DateTime<Utc>) -> Result<Bytes, Failure> {
        let started = std::time::Instant::now();
        let pdf = self.renderer.render(html.into_string()).await.map_err(not_printed)?;
        metrics::histogram!("pdf_render_duration_seconds").record(started.elapsed());
        Ok(reproducible(pdf.into(), issued_at).into())
    }

    /// Writes the PDF to the file store.
    pub(crate) async fn store(&self, name: String, pdf: Bytes) -> Result<StoredFile, Failure> {
        let size_bytes = i64::try_from(pdf.len()).unwrap_or(i64::MAX);
        let sha256 = format!("{:x}", Sha256::digest(&pdf));
        self.files.put(&name, pdf).await.map_err(store_failed)?;
        Ok(StoredFile { path: name, size_bytes, sha256 })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function value for map_err")]
fn not_printed(error: PdfError) -> Failure {
    let reason = error.to_string();
    match error {
        PdfError::ChromiumMissing(_) | PdfError::Launch(_) => Failure::Unavailable(reason),
        // It may be the document that hangs Chromium or brings it down.
        PdfError::Deadline(_) | PdfError::Crashed(_) => Failure::Retry(reason),
        PdfError::Stopped => Failure::Interrupted(reason),
        // Two fresh tabs have rejected the document.
        PdfError::Rejected(_) => Failure::Dead(reason),
    }
}

/// The invoice store did not write or read a file.
#[expect(clippy::needless_pass_by_value, reason = "used as a function value for map_err")]
pub(crate) fn store_failed(error: StoreError) -> Failure {
    let reason = error.to_string();
    match error {
        StoreError::Failed(_) => Failure::Unavailable(reason),
        // An operator may restore a lost file.
        StoreError::NotFound(_) => Failure::Retry(reason),
        StoreError::BadName { .. } => Failure::Dead(reason),
    }
}

/// A file in the store.
#[derive(Debug)]
pub(crate) struct StoredFile {
    pub(crate) path: String,
    pub(crate) size_bytes: i64,
    pub(crate) sha256: String,
}
