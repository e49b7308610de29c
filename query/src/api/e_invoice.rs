//! `GET /orders/{id}/e-invoice.json`, and the same of credit notes: what an invoice registration portal takes.
//!
//! [`document`] makes the JSON from an order and its invoice or credit note, and [`schema`] checks it: what is given out is valid.

mod document;
mod line;
mod party;
mod schema;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use contracts::{OrderDocument, RefundDocument, ReturnDocument};
use runtime::http::ApiQuery;
use runtime::{ApiError, ErrorBody};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::consistency::Scope;
use super::data_loader::DataLoader;
use super::documents::with_members;
use super::{Api, ConsistencyParam, OrderId, RefundId, ReturnId};
use document::{Issued, NotRegistered};

/// The e-invoice of an order
///
/// The invoice as INV-01, version 1.1, for the invoice registration portal (IRP). Supplies to registered buyers and exports have one.
/// The portal's answer is entered with `POST /orders/{id}/e-invoice`. Put several into an array for a bulk upload.
#[utoipa::path(
    get,
    path = "/orders/{id}/e-invoice.json",
    tag = "Orders: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
    ),
    responses(
        (status = 200, description = "INV-01, version 1.1. Amounts are rupees with two decimals, dates DD/MM/YYYY.", body = Object),
        (
            status = 404,
            description = "`ORDER_NOT_FOUND`; `E_INVOICE_NOT_FOUND` before the invoice is made, and for documents that are not registered; \
                           `details.reason` says which: `NOT_ISSUED`, `NOT_TAXED`, `BUYER_NOT_REGISTERED`, `BILL_OF_SUPPLY`",
            body = ErrorBody,
        ),
        (
            status = 409,
            description = "`E_INVOICE_INCOMPLETE`: the portal would refuse it; `details.fields` says what is missing or too long",
            body = ErrorBody,
        ),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_order_e_invoice(
    State(api): State<Arc<Api>>,
    id: OrderId,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let order = read::<OrderDocument>(&api.orders, id.0).await?.ok_or_else(|| id.not_found())?;
    respond(document::of_invoice(&order))
}

/// The e-invoice of a return's credit note
///
/// The credit note as INV-01, version 1.1 (`CRN`). See `GET /orders/{id}/e-invoice.json`.
#[utoipa::path(
    get,
    path = "/returns/{id}/e-invoice.json",
    tag = "Returns: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
    ),
    responses(
        (status = 200, description = "INV-01, version 1.1.", body = Object),
        (status = 404, description = "`RETURN_NOT_FOUND`, `E_INVOICE_NOT_FOUND`", body = ErrorBody),
        (status = 409, description = "`E_INVOICE_INCOMPLETE`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_return_e_invoice(
    State(api): State<Arc<Api>>,
    id: ReturnId,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let returned = read::<ReturnDocument>(&api.returns, id.0).await?.ok_or_else(|| id.not_found())?;
    let order = order_of(&api, returned.order_id).await?;
    let note = returned.credit_note.as_ref();
    respond(document::of_credit_note(&order, note, returned.items.iter().map(Into::into).collect()))
}

/// The e-invoice of the credit note of a refund without a return
///
/// The credit note as INV-01, version 1.1 (`CRN`). See `GET /orders/{id}/e-invoice.json`.
#[utoipa::path(
    get,
    path = "/refunds/{id}/e-invoice.json",
    tag = "Refunds: queries",
    params(
        ("id" = uuid::Uuid, Path),
        ConsistencyParam,
        ("x-consistency-token" = Option<String>, Header, description = "See `consistency`."),
    ),
    responses(
        (status = 200, description = "INV-01, version 1.1.", body = Object),
        (status = 404, description = "`REFUND_NOT_FOUND`, `E_INVOICE_NOT_FOUND`", body = ErrorBody),
        (status = 409, description = "`E_INVOICE_INCOMPLETE`", body = ErrorBody),
        (status = 422, description = "`VALIDATION_FAILED`", body = ErrorBody),
        (status = 503, description = "`READ_MODEL_BEHIND`, `TOO_MANY_WAITING`", body = ErrorBody),
    )
)]
pub(super) async fn get_refund_e_invoice(
    State(api): State<Arc<Api>>,
    id: RefundId,
    headers: HeaderMap,
    ApiQuery(params): ApiQuery<ConsistencyParam>,
) -> Result<Response, ApiError> {
    api.wait_for(&headers, params.consistency.as_deref(), Scope::Documents).await?;
    let refund = read::<RefundDocument>(&api.refunds, id.0).await?.ok_or_else(|| id.not_found())?;
    let order = order_of(&api, refund.order_id).await?;
    let note = refund.credit_note.as_ref();
    respond(document::of_credit_note(&order, note, refund.items.iter().map(Into::into).collect()))
}

/// A stored document with what is shown inside it. No customer gets here.
async fn read<T: DeserializeOwned>(documents: &DataLoader, id: Uuid) -> Result<Option<T>, ApiError> {
    let Some(found) = documents.get(id, None).await? else { return Ok(None) };
    let text = with_members(found.document, found.inner.as_deref());
    serde_json::from_str(&text).map(Some).map_err(ApiError::internal)
}

async fn order_of(api: &Api, id: Uuid) -> Result<OrderDocument, ApiError> {
    read(&api.orders, id).await?.ok_or_else(|| OrderId(id).not_found())
}

fn respond(issued: Result<Issued, NotRegistered>) -> Result<Response, ApiError> {
    let Issued { number, file } = issued.map_err(|why| {
        ApiError::not_found("E_INVOICE_NOT_FOUND", why.to_string()).with_details(json!({ "reason": why.reason() }))
    })?;
    check(&file)?;
    let name = number.replace('/', "-");
    let disposition = format!("inline; filename=\"e-invoice-{name}.json\"");
    Ok(([(header::CONTENT_DISPOSITION, disposition)], Json(file)).into_response())
}

fn check(file: &Value) -> Result<(), ApiError> {
    let faults = schema::faults(file);
    if faults.is_empty() {
        return Ok(());
    }
    let fields: Vec<_> = faults.iter().map(|fault| json!({ "field": fault.field, "message": fault.message })).collect();
    let message = "the registration portal would refuse this document; with E_INVOICING=true no order is accepted that lacks these facts";
    Err(ApiError::conflict("E_INVOICE_INCOMPLETE", message).with_details(json!({ "fields": fields })))
}
