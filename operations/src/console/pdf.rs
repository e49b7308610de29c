//! The PDF of an invoice or a credit note. It says who the customer is, so the one who opens it says why.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use runtime::ApiError;
use runtime::http::{RequestContext, pdf_headers};
use storage::StoreError;

use super::Console;
use super::act::{Justified, Sent, filled_in, operator, remembering};
use super::document::encoded;
use super::filter;
use super::page::justification;
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
    headers: HeaderMap,
    Path(id): Path<String>,
    form: Sent<Justified>,
) -> Answer<Response> {
    visitor.must_read("events/{id}")?;
    let id = filter::id_of(&id, "DOCUMENT_NOT_FOUND", "document")?;
    let form = filled_in(form)?;
    let operator = operator(&visitor, context, &form)?;
    let no_pdf = |why: String| Refusal::from(OperationError::NoPdf { number: format!("the document {id}"), why });
    let store = console.shared.documents().await.map_err(no_pdf)?;
    let unknown = "this process was not told where the invoice store is: set AUDIT_INVOICE_STORE_URL";
    let store = store.ok_or_else(|| no_pdf(unknown.to_owned()))?;
    let name = reveal::document(&console.shared.pool, id, &operator).await?;
    match store.get(&name).await {
        Ok(file) => {
            let remember = remembering(&visitor, &form, &headers);
            Ok((remember, pdf_headers(&name, file.size), Body::from_stream(file.content)).into_response())
        }
        Err(StoreError::NotFound(_)) => Err(no_pdf(format!("its file {} is gone", store.display_path(&name)))),
        Err(error) => Err(ApiError::internal(error).into()),
    }
}

/// `GET /console/documents/{id}`: an address alone opens no PDF, but leads to the order.
pub(super) async fn show(visitor: Visitor, Path(id): Path<String>) -> Answer<Redirect> {
    visitor.must_read("stories/{of}")?;
    Ok(Redirect::to(&format!("/console/orders/{}", encoded(&id))))
}

/// The form that opens it beside the console, once it is stored.
pub(super) fn opener(visitor: &Visitor, document: &StoryDocument) -> Markup {
    html! {
        @if document.stored_at.is_some() {
            details .act {
                summary { "Open the PDF" }
                form method="post" action={ "/console/documents/" (document.id) } target="_blank" {
                    p .quiet { "It names the customer. The operator log will have who opened it, and why." }
                    (justification(visitor, &format!("pdf-{}", document.id)))
                    button { "Open the PDF" }
                }
            }
        }
    }
}
