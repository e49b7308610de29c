//! The query parameters of each list, as the API description has them, and what they filter by.

use axum::http::Uri;
use contracts::{
    CreditNoteDocument, InvoiceDocument, OrderDocument, OrderState, RefundDocument, RefundKind, RefundStatus,
    ReturnDocument, ReturnState, schema,
};
use runtime::ApiError;
use utoipa::IntoParams;
use uuid::Uuid;

use super::request::{IssuedListParams, ListParams, ListRequest, Reader};
use super::shape;
use crate::api::dates;

/// The limits of the command service; nothing longer can exist.
const MAX_CUSTOMER_ID: usize = 64;
const MAX_ORDER_NUMBER: usize = 32;
const MAX_SKU: usize = 64;
const MAX_REFERENCE: usize = 128;
const MAX_NUMBER: usize = 16;

/// The filters of the list of orders.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct OrderFilters {
    /// One state or several, separated by commas.
    #[param(style = Form, explode = false, min_items = 1, value_type = Option<Vec<schema::OrderState>>)]
    state: Option<String>,
    #[param(min_length = 1, max_length = 64)]
    customer_id: Option<String>,
    /// The customer's e-mail address; the case of its letters does not count.
    #[param(min_length = 1, max_length = 254)]
    email: Option<String>,
    #[param(min_length = 1, max_length = 32)]
    order_number: Option<String>,
    /// Orders of which an item has this SKU.
    #[param(min_length = 1, max_length = 64)]
    sku: Option<String>,
    #[param(min_length = 1, max_length = 128)]
    tracking_number: Option<String>,
    #[param(min_length = 1, max_length = 128)]
    payment_transaction_id: Option<String>,
    /// Words, or beginnings of words, all of which the order has: in its number, customer, e-mail address, names, cities, postal codes
    /// and telephone numbers, SKUs and titles. One word may also be a tracking number or the payment's id.
    #[param(min_length = 1, max_length = 200)]
    q: Option<String>,
    /// Members of each document to show, separated by commas, in place of all.
    #[param(style = Form, explode = false, schema_with = shape::members_of::<OrderDocument>)]
    fields: Option<String>,
}

/// The filters of the list of returns.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct ReturnFilters {
    /// One state or several, separated by commas.
    #[param(style = Form, explode = false, min_items = 1, value_type = Option<Vec<schema::ReturnState>>)]
    state: Option<String>,
    order_id: Option<Uuid>,
    #[param(min_length = 1, max_length = 64)]
    customer_id: Option<String>,
    /// The customer's e-mail address; the case of its letters does not count.
    #[param(min_length = 1, max_length = 254)]
    email: Option<String>,
    #[param(min_length = 1, max_length = 32)]
    order_number: Option<String>,
    /// Returns of which an item has this SKU.
    #[param(min_length = 1, max_length = 64)]
    sku: Option<String>,
    #[param(min_length = 1, max_length = 128)]
    tracking_number: Option<String>,
    /// Words, or beginnings of words, all of which the return has: in the order's number, customer, e-mail address, SKUs and titles.
    /// One word may also be a tracking number.
    #[param(min_length = 1, max_length = 200)]
    q: Option<String>,
    /// Members of each document to show, separated by commas, in place of all.
    #[param(style = Form, explode = false, schema_with = shape::members_of::<ReturnDocument>)]
    fields: Option<String>,
}

/// The filters of the list of refunds.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct RefundFilters {
    /// One status or several, separated by commas.
    #[param(style = Form, explode = false, min_items = 1, value_type = Option<Vec<schema::RefundStatus>>)]
    status: Option<String>,
    kind: Option<RefundKind>,
    order_id: Option<Uuid>,
    return_id: Option<Uuid>,
    #[param(min_length = 1, max_length = 64)]
    customer_id: Option<String>,
    /// The customer's e-mail address; the case of its letters does not count.
    #[param(min_length = 1, max_length = 254)]
    email: Option<String>,
    #[param(min_length = 1, max_length = 32)]
    order_number: Option<String>,
    #[param(min_length = 1, max_length = 128)]
    payment_transaction_id: Option<String>,
    /// Members of each document to show, separated by commas, in place of all.
    #[param(style = Form, explode = false, schema_with = shape::members_of::<RefundDocument>)]
    fields: Option<String>,
}

/// The filters of the lists of invoices and credit notes.
#[expect(dead_code, reason = "read by utoipa only")]
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct IssuedFilters {
    /// The number of the document.
    #[param(min_length = 1, max_length = 16, example = "AC/26-27/0000001")]
    number: Option<String>,
    order_id: Option<Uuid>,
    #[param(min_length = 1, max_length = 32)]
    order_number: Option<String>,
    #[param(min_length = 1, max_length = 64)]
    customer_id: Option<String>,
    /// Issued at or after this time: RFC 3339, or a date `YYYY-MM-DD`, which means its first moment in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    issued_from: Option<String>,
    /// Issued before this time: RFC 3339, or a date `YYYY-MM-DD`, which includes that whole day in Asia/Kolkata.
    #[param(schema_with = dates::time_or_day)]
    issued_to: Option<String>,
}

/// `GET /orders`.
pub(in crate::api) fn orders(uri: &Uri) -> Result<ListRequest, ApiError> {
    const SUMMARY: [&str; 11] = [
        "id",
        "order_number",
        "state",
        "version",
        "customer_id",
        "customer_email",
        "currency",
        "total_minor",
        "created_at",
        "updated_at",
        "tracking_number",
    ];
    let mut reader = Reader::of::<(OrderFilters, ListParams)>("orders", uri);
    reader.states("state", &OrderState::ALL, OrderState::as_str);
    reader.text("customer_id", MAX_CUSTOMER_ID);
    reader.email();
    reader.text("order_number", MAX_ORDER_NUMBER);
    reader.sku(MAX_SKU);
    reader.text("tracking_number", MAX_REFERENCE);
    reader.text("payment_transaction_id", MAX_REFERENCE);
    reader.search();
    reader.times();
    reader.finish::<OrderDocument>(&SUMMARY)
}

/// `GET /returns`.
pub(in crate::api) fn returns(uri: &Uri) -> Result<ListRequest, ApiError> {
    const SUMMARY: [&str; 11] = [
        "id",
        "order_id",
        "order_number",
        "state",
        "version",
        "customer_id",
        "customer_email",
        "currency",
        "refund_amount_minor",
        "created_at",
        "updated_at",
    ];
    let mut reader = Reader::of::<(ReturnFilters, ListParams)>("returns", uri);
    reader.states("state", &ReturnState::ALL, ReturnState::as_str);
    reader.id("order_id");
    reader.text("customer_id", MAX_CUSTOMER_ID);
    reader.email();
    reader.text("order_number", MAX_ORDER_NUMBER);
    reader.sku(MAX_SKU);
    reader.text("tracking_number", MAX_REFERENCE);
    reader.search();
    reader.times();
    reader.finish::<ReturnDocument>(&SUMMARY)
}

/// `GET /refunds`.
pub(in crate::api) fn refunds(uri: &Uri) -> Result<ListRequest, ApiError> {
    const SUMMARY: [&str; 11] = [
        "id",
        "order_id",
        "order_number",
        "return_id",
        "kind",
        "status",
        "version",
        "amount_minor",
        "currency",
        "created_at",
        "updated_at",
    ];
    let mut reader = Reader::of::<(RefundFilters, ListParams)>("refunds", uri);
    reader.states("status", &RefundStatus::ALL, RefundStatus::as_str);
    reader.one_of("kind", RefundKind::ALL, RefundKind::as_str);
    reader.id("order_id");
    reader.id("return_id");
    reader.text("customer_id", MAX_CUSTOMER_ID);
    reader.email();
    reader.text("order_number", MAX_ORDER_NUMBER);
    reader.text("payment_transaction_id", MAX_REFERENCE);
    reader.times();
    reader.finish::<RefundDocument>(&SUMMARY)
}

/// `GET /invoices`.
pub(in crate::api) fn invoices(uri: &Uri) -> Result<ListRequest, ApiError> {
    const SUMMARY: [&str; 6] = ["id", "order_id", "order_number", "invoice_number", "total_minor", "issued_at"];
    issued("invoices", uri).finish::<InvoiceDocument>(&SUMMARY)
}

/// `GET /credit-notes`.
pub(in crate::api) fn credit_notes(uri: &Uri) -> Result<ListRequest, ApiError> {
    const SUMMARY: [&str; 7] =
        ["id", "order_id", "order_number", "credit_note_number", "invoice_number", "total_minor", "issued_at"];
    issued("credit notes", uri).finish::<CreditNoteDocument>(&SUMMARY)
}

fn issued(list: &'static str, uri: &Uri) -> Reader {
    let mut reader = Reader::of::<(IssuedFilters, IssuedListParams)>(list, uri);
    reader.text("number", MAX_NUMBER);
    reader.id("order_id");
    reader.text("order_number", MAX_ORDER_NUMBER);
    reader.text("customer_id", MAX_CUSTOMER_ID);
    reader.issued();
    reader
}
