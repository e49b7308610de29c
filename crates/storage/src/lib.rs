//! Where invoices are kept: the workers write, the query service reads.
//!
//! Invariant: no other crate names `object_store`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// The one setting of the store; the same value for workers and query.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreSettings {
    /// Folder of the invoices: a path, absolute or relative to the working directory, or a file:// URL
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
    #[error("INVOICE_STORE_URL={url}: the scheme {scheme:?} is not supported, only a folder or a file:// URL")]
    UnknownScheme { url: String, scheme: String },
    #[error("INVOICE_STORE_URL={url}: a file:// URL needs an absolute path without a host, as in file:///srv/invoices")]
    NotLocal { url: String },
    #[error("INVOICE_STORE_URL={url}: the folder cannot be used: {source}")]
    Folder { url: String, source: Box<dyn std::error::Error + Send + Sync> },
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
        let chunks: Vec<Bytes> = self.content.try_collect().await?;
        Ok(chunks.concat().into())
    }
}

/// An open store; cheap to clone.
#[derive(Debug, Clone)]
pub struct InvoiceStore {
    store: Arc<dyn ObjectStore>,
    /// As the operator wrote it: what people are shown.
    folder: PathBuf,
}

/// Opens the store that `INVOICE_STORE_URL` names. A folder that does not exist yet is made.
pub fn open(url: &str) -> Result<InvoiceStore, OpenError> {
    let folder = local_folder(url)?;
    let unusable = |source| OpenError::Folder { url: url.to_owned(), source };
    std::fs::create_dir_all(&folder).map_err(|error| unusable(error.into()))?;
    // The row that says "stored" is committed after the write, so the write must survive a power cut: fsync.
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| unusable(error.into()))?.with_fsync(true);
    Ok(InvoiceStore { store: Arc::new(store), folder })
}

/// As [`open`], for somebody who only looks: a folder that does not exist is an error, and not made.
pub fn open_existing(url: &str) -> Result<InvoiceStore, OpenError> {
    match std::fs::read_dir(local_folder(url)?) {
        Ok(_) => open(url),
        Err(error) => Err(OpenError::Folder { url: url.to_owned(), source: error.into() }),
    }
}

fn local_folder(url: &str) -> Result<PathBuf, OpenError> {
    let url = url.trim();
    if url.is_empty() {
        return Err(OpenError::Empty);
    }
    match url.split_once("://") {
        None => Ok(PathBuf::from(url)),
        Some(("file", path)) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(("file", _)) => Err(OpenError::NotLocal { url: url.to_owned() }),
        Some((scheme, _)) => Err(OpenError::UnknownScheme { url: url.to_owned(), scheme: scheme.to_owned() }),
    }
}

impl InvoiceStore {
    /// The file name of an order's invoice: `invoice_<order_number>.pdf`.
    ///
    /// Order numbers are any text. Two numbers must never share a file, so what no file name can hold is
    /// percent-encoded rather than replaced; other scripts stay as they are.
    pub fn invoice_name(order_number: &str) -> String {
        Self::name("invoice_", order_number)
    }

    /// The file name of a credit note, by its own number, as an order may have several: `credit_note_CN-26-27-000001.pdf`.
    pub fn credit_note_name(number: &str) -> String {
        Self::name("credit_note_", &number.replace('/', "-"))
    }

    fn name(kind: &str, number: &str) -> String {
        let mut name = String::from(kind);
        for c in number.chars() {
            if c.is_alphanumeric() || !c.is_ascii() && !c.is_control() || matches!(c, '-' | '_' | '.' | ' ') {
                name.push(c);
            } else {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    write!(name, "%{byte:02X}").expect("a String takes everything");
                }
            }
        }
        name.push_str(".pdf");
        name
    }

    /// Writes a file whole, replacing an older one: under another name first, then renamed, so that a reader
    /// sees the old content or the new, and a crash leaves no half-written invoice under the real name.
    pub async fn put(&self, name: &str, content: Bytes) -> Result<(), StoreError> {
        self.store.put(&location(name)?, content.into()).await.map_err(|error| failed(name, error))?;
        self.remove_unfinished(name);
        Ok(())
    }

    /// Removes what earlier writers of this file have begun before they were killed: nobody else ever would. One that is
    /// still alive has lost its job to us; its rename fails, and it is told so.
    fn remove_unfinished(&self, name: &str) {
        for number in 1_u32.. {
            if std::fs::remove_file(self.folder.join(format!("{name}#{number}"))).is_err() {
                return;
            }
        }
    }

    /// Opens a file for reading.
    pub async fn get(&self, name: &str) -> Result<StoredFile, StoreError> {
        let found = self.store.get(&location(name)?).await.map_err(|error| failed(name, error))?;
        let (size, name) = (found.meta.size, name.to_owned());
        let content = found.into_stream().map_err(move |error| failed(&name, error)).boxed();
        Ok(StoredFile { size, content })
    }

    /// Files that a writer began `age` ago or earlier and never gave their real names: he was killed. `object_store`
    /// calls them `<name>#<number>` and lists them nowhere.
    pub fn unfinished_uploads(&self, age: Duration) -> Result<Vec<String>, StoreError> {
        let of_folder = |error: std::io::Error| StoreError::Failed(error.into());
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(of_folder)? {
            let entry = entry.map_err(of_folder)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_upload = name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
            // What is gone by now was an upload under way.
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let is_old = modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed >= age));
            if is_upload && is_old {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Where a file is, for people: in logs, tables and mails.
    pub fn display_path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// A name is one segment: nothing that comes from outside can climb out of the folder.
fn location(name: &str) -> Result<Path, StoreError> {
    let bad = |reason: String| StoreError::BadName { name: name.to_owned(), reason };
    if name.is_empty() || name.contains('/') {
        return Err(bad("it must be a single, non-empty path segment".to_owned()));
    }
    Path::parse(name).map_err(|error| bad(error.to_string()))
}

fn failed(name: &str, error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::NotFound(name.to_owned()),
        other => StoreError::Failed(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, InvoiceStore) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("file://{}", folder.path().join("made/on/demand").display());
        let store = open(&url).expect("a fresh folder opens");
        (folder, store)
    }

    #[tokio::test]
    async fn what_is_put_is_read_back_and_replaced() {
        let (_folder, store) = temporary();
        for content in ["%PDF-1 first", "%PDF-1 second, longer"] {
            store.put("invoice_AC-1.pdf", Bytes::from(content)).await.expect("written");
            let file = store.get("invoice_AC-1.pdf").await.expect("there");
            assert_eq!(file.size, content.len() as u64);
            assert_eq!(file.bytes().await.expect("readable"), content);
        }
        assert!(
            matches!(store.get("invoice_AC-2.pdf").await, Err(StoreError::NotFound(name)) if name == "invoice_AC-2.pdf")
        );
    }

    #[tokio::test]
    async fn every_order_number_has_a_file_of_its_own() {
        let (_folder, store) = temporary();
        let longest = "क".repeat(32);
        let hostile = "/".repeat(32);
        let numbers =
            ["AC-1", "AC/1", "AC_1", "AC%2F1", "..", ".", "../../etc", "a b#1", "a\\b\"\u{7f}", &longest, &hostile];
        for number in numbers {
            store.put(&InvoiceStore::invoice_name(number), Bytes::from(number.to_owned())).await.expect(number);
        }
        for number in numbers {
            let name = InvoiceStore::invoice_name(number);
            assert_eq!(store.get(&name).await.expect(number).bytes().await.expect("readable"), number);
            assert!(
                std::path::Path::new(&store.display_path(&name)).is_file(),
                "{name} is where people are told it is"
            );
        }
        assert_eq!(InvoiceStore::invoice_name("AC-2026-000123"), "invoice_AC-2026-000123.pdf");
        assert_eq!(InvoiceStore::invoice_name("ऑर्डर/1"), "invoice_ऑर्डर%2F1.pdf");
    }

    #[tokio::test]
    async fn names_that_are_not_one_segment_are_refused() {
        let (_folder, store) = temporary();
        for name in ["", "a/b.pdf", "..", ".", "a\0b"] {
            assert!(matches!(store.get(name).await, Err(StoreError::BadName { .. })), "{name:?}");
        }
    }

    #[tokio::test]
    async fn an_upload_that_was_never_finished_is_found() {
        let (folder, store) = temporary();
        store.put("invoice_A#1.pdf", Bytes::from_static(b"%PDF")).await.expect("written");
        assert!(store.unfinished_uploads(Duration::ZERO).expect("a folder").is_empty());
        std::fs::write(folder.path().join("made/on/demand/invoice_B.pdf#1"), "%PD").expect("half a file");
        assert_eq!(store.unfinished_uploads(Duration::ZERO).expect("a folder"), ["invoice_B.pdf#1"]);
        assert!(store.unfinished_uploads(Duration::from_secs(3600)).expect("a folder").is_empty(), "may be under way");
    }

    #[tokio::test]
    async fn whoever_writes_a_file_removes_what_killed_writers_of_it_have_left() {
        let (folder, store) = temporary();
        for left in ["invoice_A.pdf#1", "invoice_A.pdf#2", "invoice_B.pdf#1"] {
            std::fs::write(folder.path().join("made/on/demand").join(left), "%PD").expect("half a file");
        }
        store.put("invoice_A.pdf", Bytes::from_static(b"%PDF")).await.expect("written");
        assert_eq!(store.unfinished_uploads(Duration::ZERO).expect("a folder"), ["invoice_B.pdf#1"]);
        assert_eq!(store.get("invoice_A.pdf").await.expect("there").size, 4);
    }

    #[test]
    fn who_only_looks_makes_no_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = folder.path().join("nothing").display().to_string();
        assert!(matches!(open_existing(&url), Err(OpenError::Folder { .. })));
        assert!(!folder.path().join("nothing").exists());
        assert!(open_existing(&folder.path().display().to_string()).is_ok());
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        let refusal = |url| open(url).expect_err(url).to_string();
        assert!(refusal("s3://bucket/invoices").contains("\"s3\""), "{}", refusal("s3://bucket/invoices"));
        assert!(refusal("file://host/share").contains("without a host"));
        assert!(refusal(" ").contains("empty"));
        assert!(refusal("/dev/null/invoices").contains("cannot be used"));
    }
}
