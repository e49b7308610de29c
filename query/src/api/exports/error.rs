//! Why an export was not made.

use rust_xlsxwriter::XlsxError;

/// Why an export was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// Asking again would not help.
    #[error("{0}")]
    TooLarge(String),
    #[error("the processes that made it have ended before it was whole")]
    Abandoned,
    #[error("another process makes it")]
    NotOurs,
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("workbook: {0}")]
    Workbook(#[from] XlsxError),
    #[error("file: {0}")]
    File(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ExportError {
    pub(super) fn file(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::File(error.into())
    }
}
