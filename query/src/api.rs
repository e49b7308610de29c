//! The REST reads. They see the read models and nothing else.

mod orders;
mod returns;
mod pdf;
mod documents;
mod lookups;
mod lists;
mod cursor;
mod dates;
pub mod reports;
mod store;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use runtime::{ApiError, Clock};
use serde::Deserialize;
use sqlx::PgPool;
use storage::InvoiceStore;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::consistency::{Consistency, Scope, Wanted};
use lookups::Lookups;

pub use documents::History;
pub use lists::{OrderPage, ReturnPage};

/// What every handler has.
#[derive(Debug)]
pub(crate) struct Api {
    read: PgPool,
    orders: Lookups,
    returns: Lookups,
    consistency: Consistency,
    invoices: InvoiceStore,
    clock: Clock,
}

impl Api {
    pub(crate) fn new(read: PgPool, consistency: Consistency, invoices: InvoiceStore, clock: Clock) -> Self {
        let orders = Lookups::new(read.clone(), store::orders);
        let returns = Lookups::new(read.clone(), store::returns);
        Self { read, orders, returns, consistency, invoices, clock }
    }

    /// Waits for the versions that the request asks for by its consistency tokens.
    async fn wait_for(&self, headers: &HeaderMap, parameter: Option<&str>, scope: Scope) -> Result<(), ApiError> {
        self.consistency.reached(&Wanted::of(headers, parameter)?, scope).await
    }
}

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    let routes = OpenApiRouter::new()
        .routes(routes!(orders::list_orders))
        .routes(routes!(orders::get_order))
        .routes(routes!(orders::get_order_history))
        .routes(routes!(pdf::get_order_invoice))
        .routes(routes!(returns::list_returns))
        .routes(routes!(returns::get_return))
        .routes(routes!(returns::get_return_history))
        .routes(routes!(pdf::get_return_credit_note))
        .merge(reports::routes());
    OpenApiRouter::new().nest("/api/v1", routes)
}

/// What a query of one thing understands.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OneParams {
    /// Consistency tokens (`order:<id>@<version>`, `return:<id>@<version>`), separated by commas, at most 20; the
    /// header `X-Consistency-Token` means the same. The answer has these versions at least.
    consistency: Option<String>,
}

/// The order that the path names.
#[derive(Debug, Clone, Copy)]
struct OrderId(Uuid);

/// The return that the path names.
#[derive(Debug, Clone, Copy)]
struct ReturnId(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for OrderId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id_in_path(parts, state).await.map(Self).ok_or_else(|| {
            ApiError::not_found(
                "ORDER_NOT_FOUND",
                "no order has this id: the ids of orders are UUIDs, and this is none",
            )
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ReturnId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        id_in_path(parts, state).await.map(Self).ok_or_else(|| {
            ApiError::not_found(
                "RETURN_NOT_FOUND",
                "no return has this id: the ids of returns are UUIDs, and this is none",
            )
        })
    }
}

async fn id_in_path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<Uuid> {
    let Path(id) = Path::<String>::from_request_parts(parts, state).await.ok()?;
    Uuid::try_parse(&id).ok()
}

impl OrderId {
    fn not_found(self) -> ApiError {
        ApiError::not_found("ORDER_NOT_FOUND", format!("there is no order {}", self.0))
    }
}

impl ReturnId {
    fn not_found(self) -> ApiError {
        ApiError::not_found("RETURN_NOT_FOUND", format!("there is no return {}", self.0))
    }
}
