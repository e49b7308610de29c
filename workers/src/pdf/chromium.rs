//! One browser with its tabs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Failure};
use super::page::Page;
use super::process::{self, Process, START_DEADLINE};
use super::{PdfError, PdfSettings};

/// Its process exits when the last reference is dropped.
#[derive(Debug)]
pub(super) struct Chromium {
    pub(super) connection: Connection,
    idle: Mutex<Vec<Page>>,
    documents: AtomicU64,
    #[cfg(test)]
    pub(super) process_id: u32,
    #[cfg(test)]
    pub(super) profile: std::path::PathBuf,
    _closing: DropGuard,
}

impl Chromium {
    /// Starts a browser and opens all its tabs.
    pub(super) async fn launch(settings: &PdfSettings, alive: &TaskTracker) -> Result<Self, PdfError> {
        let executable = process::find(settings.chromium_path.as_deref())?;
        let (process, connection, answers) =
            Process::start(&executable).map_err(|e| PdfError::Launch(e.to_string()))?;
        #[cfg(test)]
        let (process_id, profile) = (process.id(), process.profile().to_owned());
        let closing = CancellationToken::new();
        let process = alive.spawn(process.run(answers, closing.clone()));
        let closing = closing.drop_guard();
        let opened = tokio::time::timeout(START_DEADLINE, open_pages(&connection, settings.tabs)).await;
        let Ok(Ok(pages)) = opened else {
            drop((connection, closing));
            return Err(PdfError::Launch(process.await.unwrap_or_default()));
        };
        Ok(Self {
            connection,
            idle: Mutex::new(pages),
            documents: AtomicU64::new(0),
            #[cfg(test)]
            process_id,
            #[cfg(test)]
            profile,
            _closing: closing,
        })
    }

    /// Whether it may print another document.
    pub(super) fn is_healthy(&self) -> bool {
        self.idle().iter().all(|page| page.is_open(&self.connection))
    }

    /// Counts a document, and returns how many there have been.
    pub(super) fn count_document(&self) -> u64 {
        self.documents.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Prints in a free tab. The tab is reused only if printing succeeded.
    pub(super) async fn print(&self, html: String) -> Result<Vec<u8>, Failure> {
        let page = self.idle().pop().ok_or(Failure::Crashed("no tab is left"))?;
        let pdf = page.print(&self.connection, html).await?;
        self.idle().push(page);
        Ok(pdf)
    }

    #[cfg(test)]
    pub(super) fn has_no_idle_tab(&self) -> bool {
        self.idle().is_empty()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Page>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open_pages(connection: &Connection, tabs: usize) -> Result<Vec<Page>, Failure> {
    let mut pages = Vec::with_capacity(tabs);
    for _ in 0..tabs {
        pages.push(Page::open(connection).await?);
    }
    Ok(pages)
}
