//! `POST /exports`: a file that is longer than an answer may be, made in the background and fetched by a link that is signed.
//!
//! - [`document`]: what a client asks for and is shown;
//! - [`kinds`]: what can be exported; [`list`], [`rows`] and [`issued`] have the SQL of lists;
//! - [`worker`]: makes one export at a time in each process, by [`making`];
//! - [`file`]: the rows as CSV or XLSX;
//! - [`store`]: the SQL of exports and their parts.
//!
//! A file has no names, addresses or e-mail addresses. What it says of customers (their ids, and reasons in their words) goes with an
//! erasure: the projector deletes such files when it applies one.

mod document;
mod kinds;
mod list;
mod rows;
mod issued;
mod file;
mod making;
mod worker;
mod error;
mod store;

use std::io;
use std::sync::Arc;

use access::Caller;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream;
use runtime::database::limited;
use runtime::http::{ApiJson, ApiQuery};
use runtime::{ApiError, ErrorBody};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::consistency::Scope;
use super::reports::Period;
use super::{Api, ExportId};
use document::CreateExport;
use store::Export;

pub use document::{ExportDocument, ExportFormat, ExportList, ExportStatus};
pub use kinds::ExportKind;
pub(crate) use worker::Exports;

/// How long a link can be used.
const LINK_FOR: TimeDelta = TimeDelta::minutes(15);
/// Exports of one caller that are not ready yet.
const MAX_OPEN: i64 = 10;
/// Exports of the list.
const LISTED: i64 = 100;
/// Seconds after which it is worth to look again.
const LOOK_AGAIN: &str = "2";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(create_export, list_exports)).routes(routes!(get_export))
}

/// What needs no credentials, because a link is signed.
pub(super) fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(get_export_file))
}

/// Export a list or a report
///
/// Lists and figures of any period as one file: for what is longer than a page, and for more years than a report may ask for. The file is
/// made in the background; ask for the export until it is `READY`, then fetch `url`. Who may read the list or the report may export it. A
/// file has no names, addresses or e-mail addresses. The same export, asked for again before the first is started, is the first.
#[utoipa::path(
    post,
    path = "/exports",
    tag = "Exports",
    params(("x-consistency-token" = Option<String>, Header, description = "Versions that the file has at least: see `GET /orders`.")),
    request_body = CreateExport,
    responses(
        (
            status = 202,
            description = "It will be made.",
            body = ExportDocument,
            headers(
                ("location" = String, description = "The path of the export."),
                ("retry-after" = u32, description = "Seconds after which to look again."),
            ),
        ),
        (status = 400, description = "`MALFORMED_JSON`", body = ErrorBody),
        (status = 403, description = "`FORBIDDEN`", body = ErrorBody),
        (status = 413, description = "`BODY_TOO_LARGE`", body = ErrorBody),
        (status = 415, description = "`UNSUPPORTED_MEDIA_TYPE`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 429, description = "`TOO_MANY_EXPORTS`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn create_export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    ApiJson(asked): ApiJson<CreateExport>,
) -> Result<Response, ApiError> {
    asked.check()?;
    if !asked.kind.is_for(&caller) {
        let message = format!("this role may not read {}, so it may not export it", asked.kind.route());
        return Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message));
    }
    api.wait_for(&headers, None, Scope::Documents).await?;
    let requested_by = match &caller {
        Caller::Known(principal) => principal.name.as_str(),
        Caller::Unchecked => "anonymous",
    };
    let CreateExport { kind, format, from, to } = asked;
    let wanted = store::Wanted { kind, format, from, to, requested_by };
    let inserted = store::insert(&api.read, api.exports.next_id(), &wanted, api.clock.now(), MAX_OPEN).await?;
    let id = inserted.ok_or_else(|| {
        let message = format!("{MAX_OPEN} exports of this caller are not ready yet; ask again when one is");
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_EXPORTS", message)
    })?;
    api.exports.wake();
    let export = store::find(&api.read, id).await?.ok_or_else(|| ExportId(id).not_found())?;
    let location = format!("/api/v1/exports/{id}");
    let headers = [(header::LOCATION, location), (header::RETRY_AFTER, LOOK_AGAIN.to_owned())];
    Ok((StatusCode::ACCEPTED, headers, axum::Json(api.shown_export(export))).into_response())
}

/// Exports
///
/// The 100 newest of those that the caller may see.
#[utoipa::path(
    get,
    path = "/exports",
    tag = "Exports",
    responses((status = 200, description = "The exports.", body = ExportList))
)]
pub(super) async fn list_exports(State(api): State<Arc<Api>>, caller: Caller) -> Result<Response, ApiError> {
    let kinds = ExportKind::ALL.into_iter().filter(|kind| kind.is_for(&caller));
    let kinds: Vec<_> = kinds.map(ExportKind::as_str).collect();
    let data = store::newest(&api.read, &kinds, LISTED).await?;
    Ok(axum::Json(ExportList { data: data.into_iter().map(|export| api.shown_export(export)).collect() })
        .into_response())
}

/// An export
///
/// How far it has come, and once it is `READY` where its file is.
#[utoipa::path(
    get,
    path = "/exports/{id}",
    tag = "Exports",
    params(("id" = Uuid, Path)),
    responses(
        (
            status = 200,
            description = "The export.",
            body = ExportDocument,
            headers(("retry-after" = Option<u32>, description = "Seconds after which to look again, until it has ended.")),
        ),
        (status = 404, description = "`EXPORT_NOT_FOUND`", body = ErrorBody),
    )
)]
pub(super) async fn get_export(
    State(api): State<Arc<Api>>,
    id: ExportId,
    caller: Caller,
) -> Result<Response, ApiError> {
    let export = store::find(&api.read, id.0).await?.filter(|export| export.kind.is_for(&caller));
    let export = export.ok_or_else(|| id.not_found())?;
    let is_open = matches!(export.status, ExportStatus::Pending | ExportStatus::Running);
    let wait = is_open.then_some([(header::RETRY_AFTER, LOOK_AGAIN)]);
    Ok((wait, axum::Json(api.shown_export(export))).into_response())
}

/// The query parameters of a link.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LinkParams {
    /// Until when the link can be used, in seconds since 1970.
    expires: i64,
    #[param(pattern = "^[0-9a-f]{64}$")]
    signature: String,
}

/// The file of an export
///
/// `url` of an export leads here. It needs no credentials: the link is signed, and can be used for 15 minutes.
#[utoipa::path(
    get,
    path = "/exports/{id}/file",
    tag = "Exports",
    params(("id" = Uuid, Path), LinkParams),
    security(()),
    responses(
        (
            status = 200,
            description = "The file.",
            content((String = "text/csv"), (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")),
            headers(("content-disposition" = String, description = "With the name of the file.")),
        ),
        (status = 403, description = "`LINK_INVALID`, `LINK_EXPIRED`", body = ErrorBody),
        (status = 404, description = "`EXPORT_NOT_FOUND`", body = ErrorBody),
        (status = 410, description = "`EXPORT_EXPIRED`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
    )
)]
pub(super) async fn get_export_file(
    State(api): State<Arc<Api>>,
    id: ExportId,
    ApiQuery(link): ApiQuery<LinkParams>,
) -> Result<Response, ApiError> {
    let refused = |code, message| Err(ApiError::new(StatusCode::FORBIDDEN, code, message));
    if !api.exports.key().is_link(&path_of_file(id.0), link.expires, &link.signature) {
        return refused("LINK_INVALID", "this is not a link of ours; take `url` of GET /exports/{id}");
    }
    if api.clock.now().timestamp() >= link.expires {
        return refused("LINK_EXPIRED", "the link has expired; GET /exports/{id} has another one");
    }
    let export = store::find(&api.read, id.0).await?.ok_or_else(|| id.not_found())?;
    if export.status != ExportStatus::Ready {
        let message = "the file has been deleted; ask for the export again";
        return Err(ApiError::new(StatusCode::GONE, "EXPORT_EXPIRED", message));
    }
    let headers = [
        (header::CONTENT_TYPE, export.format.content_type().to_owned()),
        (header::CONTENT_LENGTH, export.bytes.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", export.file_name())),
    ];
    let (read, whole) = (api.read.clone(), export.bytes);
    let parts = stream::try_unfold((0, 0), move |(part_no, sent)| {
        let read = read.clone();
        async move {
            let Some(content) = limited(store::part(&read, id.0, part_no)).await.map_err(io::Error::other)? else {
                // It was deleted meanwhile: the client must not take what it has for the whole.
                let is_whole = sent == whole;
                return if is_whole { Ok(None) } else { Err(io::Error::other("the file was deleted")) };
            };
            let sent = sent + i64::try_from(content.len()).unwrap_or(i64::MAX);
            Ok(Some((content, (part_no + 1, sent))))
        }
    });
    Ok((headers, Body::from_stream(parts)).into_response())
}

fn path_of_file(id: Uuid) -> String {
    format!("/api/v1/exports/{id}/file")
}

impl Api {
    fn shown_export(&self, export: Export) -> ExportDocument {
        let link = self.link(&export);
        let Export { id, kind, format, from, to, status, rows, bytes, error, requested_by, .. } = export;
        let Export { created_at, finished_at, expires_at, .. } = export;
        let (url, url_expires_at) = link.unzip();
        ExportDocument {
            id,
            kind,
            format,
            from,
            to,
            status,
            rows,
            bytes,
            error,
            url,
            url_expires_at,
            requested_by,
            created_at,
            finished_at,
            expires_at,
        }
    }

    /// A link to the file, if there is one, and its end.
    fn link(&self, export: &Export) -> Option<(String, DateTime<Utc>)> {
        let until = export.expires_at.filter(|_| export.status == ExportStatus::Ready)?;
        let until = until.min(self.clock.now() + LINK_FOR);
        let until = DateTime::from_timestamp(until.timestamp(), 0)?;
        let (path, expires) = (path_of_file(export.id), until.timestamp());
        let signature = self.exports.key().link(&path, expires);
        Some((format!("{path}?expires={expires}&signature={signature}"), until))
    }
}

impl Export {
    fn file_name(&self) -> String {
        let period = Period { from: self.from, to: self.to };
        format!("{}{}.{}", self.kind.as_str(), period.suffix(), self.format.as_str())
    }
}
