//! HTML in, PDF out: one warm Chromium, several tabs.
//!
//! A document that fails is printed once more, on a fresh browser. A browser that failed a document gets no further ones:
//! it finishes those in its other tabs and exits. A browser that has printed its maximum of documents is replaced too, but
//! its successor is launched first, so that no document waits for the launch.

mod chromium;
mod page;
mod connection;
mod process;
mod reproducible;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::builder::RangedU64ValueParser;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;

use chromium::Chromium;
use connection::Failure;
pub use process::{FLAGS, find as find_chromium};
pub(crate) use reproducible::reproducible;

const TABS: usize = 4;
const DEADLINE: Duration = Duration::from_secs(30);
const BROWSER_MAX_JOBS: u64 = 500;

/// How PDFs are made.
#[derive(clap::Args, Clone, Debug)]
pub struct PdfSettings {
    /// The Chromium or Chrome to run. Unset: `chromium`, `chromium-browser`, `google-chrome` or
    /// `google-chrome-stable`, the first of these names that is on the PATH.
    #[arg(long, env = "CHROMIUM_PATH")]
    pub chromium_path: Option<PathBuf>,
    /// Documents printed at the same time, 1 to 16.
    #[arg(long = "pdf-tabs", env = "PDF_TABS", default_value_t = TABS,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=16))]
    pub tabs: usize,
    /// How long one document may take once it has a tab, in seconds.
    #[arg(long = "pdf-deadline-seconds", env = "PDF_DEADLINE_SECONDS", default_value = "30",
          value_parser = runtime::config::seconds)]
    pub deadline: Duration,
    /// Documents after which the browser is replaced, so that what it leaks stays bounded.
    #[arg(long = "pdf-browser-max-jobs", env = "PDF_BROWSER_MAX_JOBS", default_value_t = BROWSER_MAX_JOBS,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub recycle_after: u64,
}

impl Default for PdfSettings {
    fn default() -> Self {
        Self { chromium_path: None, tabs: TABS, deadline: DEADLINE, recycle_after: BROWSER_MAX_JOBS }
    }
}

/// Why a document was not printed.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    #[error(
        "no Chromium at {0}: install the package `chromium` (or Google Chrome), or set CHROMIUM_PATH to its executable"
    )]
    ChromiumMissing(String),
    #[error("Chromium did not start: {0}")]
    Launch(String),
    #[error("the document was not printed within {0:?} (PDF_DEADLINE_SECONDS)")]
    Deadline(Duration),
    #[error("Chromium crashed: {0}")]
    Crashed(String),
    #[error("Chromium refused the document: {0}")]
    Rejected(String),
    #[error("the PDF renderer is shut down")]
    Stopped,
}

/// A handle; clones share one browser.
#[derive(Clone, Debug)]
pub struct Renderer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: PdfSettings,
    /// One permit per tab; closed at shutdown.
    slots: Semaphore,
    current: Mutex<Option<Arc<Chromium>>>,
    /// Tasks of documents, replacements and browsers that are still running.
    alive: TaskTracker,
}

impl Renderer {
    /// Launches nothing yet. The first document or [`Self::warm_up`] launches the browser.
    pub fn start(settings: PdfSettings) -> Self {
        let slots = Semaphore::new(settings.tabs);
        Self { inner: Arc::new(Inner { settings, slots, current: Mutex::default(), alive: TaskTracker::new() }) }
    }

    /// Launches the browser with its tabs, so that the first document does not wait for it.
    pub async fn warm_up(&self) -> Result<(), PdfError> {
        self.browser().await.map(drop)
    }

    /// Prints a self-contained HTML document; size, margins and page numbers come from its CSS (`@page`). Scripts
    /// do not run and only `data:` URIs are loaded. Waits for a free tab; the deadline starts when it has one.
    pub async fn render(&self, html: String) -> Result<Bytes, PdfError> {
        let renderer = self.clone();
        // In a task, because a cancelled caller must not release a tab that is still printing.
        let printed = self.inner.alive.spawn(async move { renderer.print(html).await });
        printed.await.unwrap_or_else(|panic| Err(PdfError::Crashed(panic.to_string())))
    }

    /// Accepts no more documents, finishes those in a tab, and returns when no process and no folder is left.
    pub async fn shutdown(&self) {
        self.inner.slots.close();
        drop(self.inner.current.lock().await.take());
        self.inner.alive.close();
        self.inner.alive.wait().await;
    }

    async fn print(&self, html: String) -> Result<Bytes, PdfError> {
        let _slot = self.inner.slots.acquire().await.map_err(|_| PdfError::Stopped)?;
        match self.attempt(html.clone()).await {
            Err(error @ (PdfError::Crashed(_) | PdfError::Rejected(_))) => {
                tracing::warn!(%error, "printing failed; the document is printed again on a fresh browser");
                self.attempt(html).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(&self, html: String) -> Result<Bytes, PdfError> {
        let browser = self.browser().await?;
        let deadline = self.inner.settings.deadline;
        let error = match tokio::time::timeout(deadline, browser.print(html)).await {
            Ok(Ok(pdf)) => return Ok(Bytes::from(pdf)),
            Ok(Err(Failure::Refused(why))) => PdfError::Rejected(why),
            Ok(Err(Failure::Crashed(why))) => PdfError::Crashed(why.to_owned()),
            Err(_) => PdfError::Deadline(deadline),
        };
        self.retire(&browser).await;
        Err(error)
    }

    /// The browser for the next document.
    async fn browser(&self) -> Result<Arc<Chromium>, PdfError> {
        let mut current = self.inner.current.lock().await;
        if self.inner.slots.is_closed() {
            return Err(PdfError::Stopped);
        }
        if let Some(browser) = current.as_ref().filter(|browser| browser.is_healthy()) {
            if browser.count_document().is_multiple_of(self.inner.settings.recycle_after) {
                let renderer = self.clone();
                self.inner.alive.spawn(async move { renderer.replace().await });
            }
            return Ok(Arc::clone(browser));
        }
        let fresh = Arc::new(self.launch().await?);
        fresh.count_document();
        *current = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Launches the next browser while the current one goes on printing, then lets the current one finish.
    async fn replace(&self) {
        match self.launch().await {
            Ok(fresh) => {
                let mut current = self.inner.current.lock().await;
                if !self.inner.slots.is_closed() {
                    *current = Some(Arc::new(fresh));
                }
            }
            Err(error) => tracing::warn!(%error, "a new browser could not be launched; the old one goes on printing"),
        }
    }

    /// Gives this browser no more documents. Those in its other tabs may finish.
    async fn retire(&self, browser: &Arc<Chromium>) {
        let mut current = self.inner.current.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, browser)) {
            *current = None;
        }
    }

    async fn launch(&self) -> Result<Chromium, PdfError> {
        Chromium::launch(&self.inner.settings, &self.inner.alive).await
    }
}
