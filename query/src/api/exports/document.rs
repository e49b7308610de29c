//! What a client asks for, and what it is shown.

use chrono::{DateTime, NaiveDate, Utc};
use runtime::{ApiError, FieldErrors};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::kinds::ExportKind;
use crate::api::reports::Period;

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum ExportFormat {
    /// RFC 4180, UTF-8 with a byte order mark.
    Csv,
    /// A workbook with one sheet, of at most 100,000 rows.
    Xlsx,
}

impl ExportFormat {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Xlsx => "xlsx",
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

/// How far an export has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[sqlx(type_name = "text", rename_all = "UPPERCASE")]
pub enum ExportStatus {
    Pending,
    Running,
    Ready,
    /// `error` says why.
    Failed,
    /// It was ready, and its file is deleted.
    Expired,
}

/// A file to make.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CreateExport {
    pub(super) kind: ExportKind,
    #[serde(default = "csv")]
    #[schema(default = "csv")]
    pub(super) format: ExportFormat,
    /// The first day, in Asia/Kolkata; from 1900 on. Without it: since the beginning.
    #[serde(default)]
    #[schema(pattern = "^(19|[2-9][0-9])")]
    pub(super) from: Option<NaiveDate>,
    /// The last day, which is included. Without it: until today.
    #[serde(default)]
    #[schema(pattern = "^(19|[2-9][0-9])")]
    pub(super) to: Option<NaiveDate>,
}

fn csv() -> ExportFormat {
    ExportFormat::Csv
}

impl CreateExport {
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let mut errors = FieldErrors::default();
        Period { from: self.from, to: self.to }.check(&mut errors);
        errors.finish()
    }
}

/// An export.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExportDocument {
    pub id: Uuid,
    pub kind: ExportKind,
    pub format: ExportFormat,
    /// Null: without a limit.
    pub from: Option<NaiveDate>,
    /// Null: without a limit.
    pub to: Option<NaiveDate>,
    pub status: ExportStatus,
    /// Rows written so far, without the header.
    pub rows: i64,
    /// Of the file so far.
    pub bytes: i64,
    /// Why there is no file.
    pub error: Option<String>,
    /// Where the file is, while `READY`: a path on this server with a signature, which needs no credentials. Each answer has another one.
    pub url: Option<String>,
    /// Until when `url` can be used.
    pub url_expires_at: Option<DateTime<Utc>>,
    /// Who has asked for it.
    pub requested_by: String,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// When the file is deleted: a day after it was made.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Exports, the newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExportList {
    pub data: Vec<ExportDocument>,
}
