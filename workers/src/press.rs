//! A document on its way from HTML to a file in the store, and its number.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use maud::Markup;
use messaging::worker::Failure;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use storage::InvoiceStore;

use crate::invoice_number::{financial_year, invoice_number};
use crate::invoice_template::Brand;
use crate::pdf::{Renderer, reproducible};
use crate::store;

/// What every kind of document is made with.
#[derive(Debug, Clone)]
pub(crate) struct Press {
    pub(crate) renderer: Renderer,
    pub(crate) files: InvoiceStore,
    pub(crate) brand: Brand,
    pub(crate) timezone: chrono_tz::Tz,
}

impl Press {
    /// The next number of this year's series, taken for as long as the caller's transaction lives and for good when it
    /// commits: so the series has no gap and no number is given twice.
    pub(crate) async fn next_number(
        &self,
        conn: &mut PgConnection,
        prefix: &str,
        at: DateTime<Utc>,
    ) -> Result<String, Failure> {
        let year = financial_year(at, self.timezone);
        let n = store::next_in_series(conn, &format!("{prefix}/{year}")).await?;
        let n = u32::try_from(n).map_err(|_| Failure::Dead(format!("the series {prefix}/{year} is exhausted")))?;
        invoice_number(prefix, &year, n).map_err(|error| Failure::Dead(error.to_string()))
    }

    /// The same bytes whenever it is printed.
    pub(crate) async fn print(&self, html: Markup, issued_at: DateTime<Utc>) -> Result<Bytes, Failure> {
        let started = std::time::Instant::now();
        let pdf = self.renderer.render(html.into_string()).await.map_err(|error| {
            let reason = error.to_string();
            if error.is_retryable() { Failure::Retry(reason) } else { Failure::Dead(reason) }
        })?;
        metrics::histogram!("pdf_render_duration_seconds").record(started.elapsed());
        Ok(reproducible(pdf.into(), issued_at).into())
    }

    pub(crate) async fn keep(&self, name: String, pdf: Bytes) -> Result<Kept, Failure> {
        let size_bytes = i64::try_from(pdf.len()).unwrap_or(i64::MAX);
        let sha256 = format!("{:x}", Sha256::digest(&pdf));
        self.files.put(&name, pdf).await.map_err(|error| Failure::Retry(error.to_string()))?;
        Ok(Kept { path: name, size_bytes, sha256 })
    }
}

/// A file in the store.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) path: String,
    pub(crate) size_bytes: i64,
    pub(crate) sha256: String,
}
