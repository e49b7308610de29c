//! `GET /orders/{id}/invoice`, `GET /returns/{id}/credit-note` and `GET /refunds/{id}/credit-note`: the PDFs.

use std::sync::Arc;

use access::Caller;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runtime::http::{ApiQuery, pdf_headers};
use runtime::{ApiError, ErrorBody};
use serde::Deserialize;
use serde_json::json;
use storage::{StoreError, StoredFile};
use utoipa::IntoParams;

use super::consistency::Scope;
use super::documents::client_has;
use super::store::PdfOf;
use super::{Api, ConsistencyParam, OrderId, RefundId, ReturnId, store};

/// The query parameters of an invoice.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InvoiceParams {
    /// See `GET /orders/{id}`.
    consistency: Option<String>,
    /// An earlier edition than the last: 1 is the first. Each registration that is entered makes another edition.
    #[param(minimum = 1)]
    edition: Option<i32>,
}

/// The invoice of an order as a PDF.
#[utoipa::path(
    get,
    path = "/orders/{id}/invoice",
    tag = "Orders: queries",
    params(
        ("id" = uuid::Uuid, Path),
        InvoiceParams,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier response."),
    ),
    responses(
        (
            status = 200,
            description = "The PDF.",
            content_type = "application/pdf",
            headers(("etag" = String, description = "SHA-256 of the PDF")),
        ),
        (status = 304, description = "Unchanged."),
        (
            status = 404,
            description = "`ORDER_NOT_FOUND`; `INVOICE_NOT_FOUND` before the order is shipped and its invoice made; \
                           `INVOICE_FILE_MISSING` when the invoice was made but its file is not in the store; `EDITION_NOT_FOUND`",
            body = ErrorBody,
        ),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_order_invoice(
    State(api): State<Arc<Api>>,
    id: OrderId,
    caller: Caller,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<InvoiceParams>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let invoice =
        store::invoice(&api.read, id.0, caller.owner(), params.edition).await?.ok_or_else(|| id.not_found())?;
    if let (Some(edition), Some(_), None) = (params.edition, &invoice.latest, &invoice.path) {
        let message = format!("the invoice has no edition {edition}");
        return Err(ApiError::not_found("EDITION_NOT_FOUND", message));
    }
    serve(&api, &headers, invoice, &INVOICE).await
}

/// The credit note of a return as a PDF.
#[utoipa::path(
    get,
    path = "/returns/{id}/credit-note",
    tag = "Returns: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier response."),
    ),
    responses(
        (
            status = 200,
            description = "The PDF.",
            content_type = "application/pdf",
            headers(("etag" = String, description = "SHA-256 of the PDF")),
        ),
        (status = 304, description = "Unchanged."),
        (
            status = 404,
            description = "`RETURN_NOT_FOUND`; `CREDIT_NOTE_NOT_FOUND` before the return is completed and its credit note made; \
                           `CREDIT_NOTE_FILE_MISSING` when the credit note was made but its file is not in the store",
            body = ErrorBody,
        ),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_return_credit_note(
    State(api): State<Arc<Api>>,
    id: ReturnId,
    caller: Caller,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let note = store::credit_note(&api.read, id.0, caller.owner()).await?.ok_or_else(|| id.not_found())?;
    serve(&api, &headers, note, &CREDIT_NOTE).await
}

/// The credit note of money that was given back without a return, as a PDF.
#[utoipa::path(
    get,
    path = "/refunds/{id}/credit-note",
    tag = "Refunds: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
        ("if-none-match" = Option<String>, Header, description = "The `ETag` of an earlier response."),
    ),
    responses(
        (
            status = 200,
            description = "The PDF.",
            content_type = "application/pdf",
            headers(("etag" = String, description = "SHA-256 of the PDF")),
        ),
        (status = 304, description = "Unchanged."),
        (
            status = 404,
            description = "`REFUND_NOT_FOUND`; `CREDIT_NOTE_NOT_FOUND` before its credit note is made, and for refunds that have none; \
                           `CREDIT_NOTE_FILE_MISSING` when the credit note was made but its file is not in the store",
            body = ErrorBody,
        ),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_refund_credit_note(
    State(api): State<Arc<Api>>,
    id: RefundId,
    caller: Caller,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let note = store::credit_note_of_refund(&api.read, id.0, caller.owner()).await?.ok_or_else(|| id.not_found())?;
    serve(&api, &headers, note, &CREDIT_NOTE_OF_REFUND).await
}

/// A kind of PDF.
struct Kind {
    not_found: &'static str,
    not_found_message: &'static str,
    file_missing: &'static str,
}

const INVOICE: Kind = Kind {
    not_found: "INVOICE_NOT_FOUND",
    not_found_message: "the order has no invoice yet: it is made when the order is shipped",
    file_missing: "INVOICE_FILE_MISSING",
};

const CREDIT_NOTE: Kind = Kind {
    not_found: "CREDIT_NOTE_NOT_FOUND",
    not_found_message: "the return has no credit note, or none yet: one is made when a return is completed that refunds something",
    file_missing: "CREDIT_NOTE_FILE_MISSING",
};

const CREDIT_NOTE_OF_REFUND: Kind = Kind {
    not_found: "CREDIT_NOTE_NOT_FOUND",
    not_found_message: "the refund has no credit note, or none yet: one is made where money is given back without a return, after the \
                        invoice",
    file_missing: "CREDIT_NOTE_FILE_MISSING",
};

async fn serve(api: &Api, headers: &HeaderMap, found: PdfOf, kind: &Kind) -> Result<Response, ApiError> {
    let (Some(path), Some(sha256)) = (found.path, found.sha256) else {
        return Err(
            ApiError::not_found(kind.not_found, kind.not_found_message).with_details(json!({ "state": found.state }))
        );
    };
    if found.is_erased {
        let message = "the document was erased with its customer's personal data; the law asks for it no longer";
        return Err(ApiError::new(StatusCode::GONE, "DOCUMENT_ERASED", message));
    }
    let etag = format!("\"{sha256}\"");
    if client_has(headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    match api.invoices.get(&path).await {
        Ok(file) => Ok(pdf(file, &path, etag)),
        Err(StoreError::NotFound(_)) => {
            tracing::error!(
                alert = true,
                path = api.invoices.display_path(&path),
                "PDF is missing from the invoice store"
            );
            let message = "the document was made, but its file is not in the invoice store";
            Err(ApiError::not_found(kind.file_missing, message).with_details(json!({ "path": path })))
        }
        Err(error) => Err(ApiError::internal(error)),
    }
}

fn pdf(file: StoredFile, name: &str, etag: String) -> Response {
    (pdf_headers(name, file.size), [(header::ETAG, etag)], Body::from_stream(file.content)).into_response()
}
