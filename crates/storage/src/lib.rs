//! Where the PDFs of invoices and credit notes are kept: the workers write them, the query service reads them, an audit
//! compares them.
//!
//! - [`folder`]: a folder of this machine;
//! - [`s3`]: a bucket;
//! - [`names`]: the names of files.
//!
//! Invariant: no other crate names `object_store`.

mod folder;
mod names;
mod s3;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use runtime::health::Check;
use runtime::telemetry;
use tracing::Instrument;

use names::location;
use s3::Bucket;

/// How long a write, or the start of a read, may take. Shorter than a stopping worker waits for its jobs.
const WITHIN: Duration = Duration::from_secs(12);

/// The one setting of the store; the same value for workers and query.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreSettings {
    /// Where invoices are kept: a folder, absolute or relative to the working directory, a file:// URL, or
    /// `s3://bucket/prefix` with credentials, region and endpoint in the usual variables `AWS_*`
    #[arg(long, env = "INVOICE_STORE_URL", default_value = "./invoices")]
    pub invoice_store_url: String,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { invoice_store_url: "./invoices".to_owned() }
    }
}

/// Why a store cannot be opened. The texts are for the operator who set `INVOICE_STORE_URL`.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("INVOICE_STORE_URL is empty: give a folder, for example ./invoices")]
    Empty,
    #[error("INVOICE_STORE_URL={url}: the scheme {scheme:?} is not supported, only a folder, file:// and s3://")]
    UnknownScheme { url: String, scheme: String },
    #[error("INVOICE_STORE_URL={url}: a file:// URL needs an absolute path without a host, as in file:///srv/invoices")]
    NotLocal { url: String },
    #[error("INVOICE_STORE_URL={url}: the folder cannot be used: {source}")]
    Folder { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("INVOICE_STORE_URL={url}: {reason}")]
    BadBucket { url: String, reason: String },
    #[error("INVOICE_STORE_URL={url}: the bucket cannot be used: {advice} ({reason})")]
    Bucket { url: String, reason: String, advice: String },
    /// May be temporary.
    #[error("INVOICE_STORE_URL={url}: the bucket cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
}

/// Why a file was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0} is not in the invoice store")]
    NotFound(String),
    #[error("{name:?} is not a file name: {reason}")]
    BadName { name: String, reason: String },
    #[error("the invoice store failed: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A file being read.
pub struct StoredFile {
    /// Length in bytes.
    pub size: u64,
    pub content: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl std::fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredFile").field("size", &self.size).finish_non_exhaustive()
    }
}

impl StoredFile {
    /// The whole content in memory.
    pub async fn bytes(self) -> Result<Bytes, StoreError> {
        let chunks: Vec<Bytes> = tokio::time::timeout(WITHIN, self.content.try_collect())
            .await
            .unwrap_or_else(|_elapsed| Err(StoreError::Failed(format!("not read within {WITHIN:?}").into())))?;
        Ok(chunks.concat().into())
    }
}

/// An open store; cheap to clone.
#[derive(Debug, Clone)]
pub struct InvoiceStore {
    store: Arc<dyn ObjectStore>,
    place: Place,
}

/// The place as the operator wrote it, for people to read.
#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// Opens the store that `INVOICE_STORE_URL` names. A folder is created if it does not exist. A bucket is checked. If it
/// cannot be reached at this moment, the store opens all the same: writes are retried, and [`InvoiceStore::check`] fails
/// until it can.
pub async fn open(url: &str) -> Result<InvoiceStore, OpenError> {
    open_with(url, environment()).await
}

/// As [`open`], with these `AWS_*` variables instead of the process's own.
pub async fn open_with(
    url: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<InvoiceStore, OpenError> {
    let store = connect(url, environment)?;
    match store.check().await {
        Err(error @ OpenError::Unreachable { .. }) => tracing::warn!(%error, "continuing without the invoice store"),
        checked => checked?,
    }
    Ok(store)
}

/// As [`open`], for a caller that only reads: a folder that does not exist is an error and is not created. A bucket that
/// cannot be reached is an error too.
pub async fn open_existing(url: &str) -> Result<InvoiceStore, OpenError> {
    if let Place::Folder(folder) = place(url)? {
        folder::must_exist(url, &folder)?;
    }
    let store = connect(url, environment())?;
    store.check().await?;
    Ok(store)
}

/// The process's own variables, without those that are not text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn connect(url: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<InvoiceStore, OpenError> {
    let place = place(url)?;
    let store = match &place {
        Place::Folder(folder) => folder::open(url, folder)?,
        Place::Bucket(bucket) => bucket.client(environment)?,
    };
    Ok(InvoiceStore { store, place })
}

fn place(url: &str) -> Result<Place, OpenError> {
    let url = url.trim();
    if url.is_empty() {
        return Err(OpenError::Empty);
    }
    match url.split_once("://") {
        None => Ok(Place::Folder(PathBuf::from(url))),
        Some(("file", path)) if path.starts_with('/') => Ok(Place::Folder(PathBuf::from(path))),
        Some(("file", _)) => Err(OpenError::NotLocal { url: url.to_owned() }),
        Some(("s3", rest)) => Ok(Place::Bucket(Bucket::parse(url, rest)?)),
        Some((scheme, _)) => Err(OpenError::UnknownScheme { url: url.to_owned(), scheme: scheme.to_owned() }),
    }
}

impl InvoiceStore {
    /// Whether the store can be used now.
    pub async fn check(&self) -> Result<(), OpenError> {
        match &self.place {
            Place::Folder(folder) => folder::must_exist(&folder.display().to_string(), folder),
            Place::Bucket(bucket) => bucket.probe(&*self.store).await,
        }
    }

    /// Whether invoices can be written and read, for `/health/ready` of a process that needs the store.
    pub fn readiness(&self) -> Check {
        let store = self.clone();
        Check::new("invoice store", move || {
            let store = store.clone();
            async move { store.check().await.map_err(|error| error.to_string()) }
        })
    }

    /// Writes a file and replaces an older one in one step: a reader sees the old content or the new. In a folder it is
    /// written under another name and renamed, so a crash leaves no half-written invoice under the real name.
    pub async fn put(&self, name: &str, content: Bytes) -> Result<(), StoreError> {
        let location = location(name)?;
        self.traced("PUT", in_time(name, self.store.put(&location, content.into()))).await?;
        if let Place::Folder(folder) = &self.place {
            folder::remove_unfinished(folder, name);
        }
        Ok(())
    }

    /// A call of a bucket has a span; one of a folder has none. The span covers the client's own retries.
    async fn traced<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Place::Bucket(bucket) = &self.place else { return call.await };
        let span = tracing::info_span!("storage.file.call", otel.kind = "client", otel.name = method);
        telemetry::set_attribute(&span, "http.request.method", method);
        telemetry::set_attribute(&span, "aws.s3.bucket", bucket.name().to_owned());
        let done = call.instrument(span.clone()).await;
        if matches!(done, Err(StoreError::Failed(_))) {
            telemetry::http_failed(&span, "storage");
        }
        done
    }

    /// Removes a file for good.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let location = location(name)?;
        self.traced("DELETE", in_time(name, self.store.delete(&location))).await
    }

    /// Opens a file for reading.
    pub async fn get(&self, name: &str) -> Result<StoredFile, StoreError> {
        let location = location(name)?;
        let found = self.traced("GET", in_time(name, self.store.get(&location))).await?;
        let (size, name) = (found.meta.size, name.to_owned());
        let content = found.into_stream().map_err(move |error| failed(&name, error)).boxed();
        Ok(StoredFile { size, content })
    }

    /// The documents in the store that were written at `since` or later, by name. Other files are left out.
    pub async fn documents(&self, since: SystemTime) -> Result<Vec<String>, StoreError> {
        let mut files = self.store.list(None);
        let mut found = Vec::new();
        // A bucket is listed page by page. A file is in none of its folders: see `location`.
        while let Some(file) = in_time("a list of the files", files.try_next()).await? {
            let name = file.location.as_ref();
            if names::is_document(name) && SystemTime::from(file.last_modified) >= since {
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }

    /// Files that a writer started `age` ago or earlier and never finished, because it was killed. A bucket has none: an
    /// object appears whole or not at all.
    pub fn unfinished_uploads(&self, age: Duration) -> Result<Vec<String>, StoreError> {
        match &self.place {
            Place::Folder(folder) => folder::unfinished(folder, age),
            Place::Bucket(_) => Ok(Vec::new()),
        }
    }

    /// Where a file is, for people: in logs, tables and e-mails.
    pub fn display_path(&self, name: &str) -> String {
        match &self.place {
            Place::Folder(folder) => folder.join(name).display().to_string(),
            Place::Bucket(bucket) => format!("{}/{name}", bucket.url()),
        }
    }
}

async fn in_time<T>(name: &str, work: impl Future<Output = object_store::Result<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(WITHIN, work).await {
        Ok(done) => done.map_err(|error| failed(name, error)),
        Err(_elapsed) => Err(StoreError::Failed(format!("{name}: no answer within {WITHIN:?}").into())),
    }
}

fn failed(name: &str, error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::NotFound(name.to_owned()),
        other => StoreError::Failed(other.into()),
    }
}
