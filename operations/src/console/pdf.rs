//! The PDF of an invoice or a credit note. It says who the customer is, so the one who opens it says why.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use runtime::ApiError;
use runtime::http::{RequestContext, inline_disposition};
use storage::StoreError;

use super::Console;
use super::act::{Justified, Sent, filled_in, operator};
use super::filter;
use super::page::form;
use super::refusal::{Answer, Refusal};
use super::visitor::Visitor;
use crate::OperationError;
use crate::read::story::StoryDocument;
use crate::write::reveal;

/// `POST /console/documents/{id}`: the PDF. The operator log has who opened it, and why.
pub(super) async fn open(
    State(console): State<Arc<Console>>,
    visitor: Visitor,
    context: RequestContext,
    Path(id): Path<String>,
    form: Sent<Justified>,
) -> Answer<Response> {
    visitor.must_read("events/{id}")?;
    let id = filter::id_of(&id, "DOCUMENT_NOT_FOUND", "document")?;
    let operator = operator(&visitor, context, &filled_in(form)?)?;
    let no_pdf = |why: String| Refusal::from(OperationError::NoPdf { number: format!("the document {id}"), why });
    let store = console.shared.documents().await.map_err(no_pdf)?;
    let unknown = "this process was not told where the invoice store is: set AUDIT_INVOICE_STORE_URL";
    let store = store.ok_or_else(|| no_pdf(unknown.to_owned()))?;
    let name = reveal::document(&console.shared.pool, id, &operator).await?;
    match store.get(&name).await {
        Ok(file) => {
            let headers = [
                (header::CONTENT_TYPE, "application/pdf".to_owned()),
                (header::CONTENT_LENGTH, file.size.to_string()),
                (header::CONTENT_DISPOSITION, inline_disposition(&name)),
            ];
            Ok((headers, Body::from_stream(file.content)).into_response())
        }
        Err(StoreError::NotFound(_)) => Err(no_pdf(format!("its file {} is gone", store.display_path(&name)))),
        Err(error) => Err(ApiError::internal(error).into()),
    }
}

/// The form that opens it, once it is stored.
pub(super) fn opener(visitor: &Visitor, document: &StoryDocument) -> Markup {
    let (id, action) = (format!("pdf-{}", document.id), format!("/console/documents/{}", document.id));
    let explained = "It names the customer. The operator log will have who opened it, and why.";
    html! { @if document.stored_at.is_some() { (form(visitor, &id, &action, "Open the PDF", explained, &html! {})) } }
}
