//! The REST reads. They see the read models and nothing else.

mod orders;
mod returns;
mod refunds;
mod events;
mod exports;
mod etags;
mod issued;
mod lists;
mod shown;
mod pdf;
mod e_invoice;
pub mod reports;
mod consistency;
mod waiters;
mod parameters;
mod cursor;
mod dates;
mod rupees;
mod data_loader;
mod documents;
mod store;

use std::sync::Arc;

use access::Caller;
use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn;
use contracts::{EntityType, ReturnPolicy};
use runtime::{ApiError, Clock};
use serde::Deserialize;
use sqlx::PgPool;
use storage::InvoiceStore;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::feed::Feed;
use consistency::Scope;
use data_loader::DataLoader;
use shown::Shown;

pub(crate) use consistency::{Consistency, Tokens};
pub(crate) use cursor::Cursor;
pub(crate) use exports::Exports;
pub(crate) use waiters::Waiters;

pub use documents::History;
pub use events::EventPage;
pub use exports::{ExportDocument, ExportFormat, ExportKind, ExportList, ExportStatus};
pub use lists::{CreditNotePage, InvoicePage, OrderPage, RefundPage, ReturnPage};

/// What every handler has.
#[derive(Debug)]
pub(crate) struct Api {
    read: PgPool,
    reports: PgPool,
    orders: DataLoader,
    returns: DataLoader,
    refunds: DataLoader,
    consistency: Consistency,
    invoices: InvoiceStore,
    clock: Clock,
    policy: ReturnPolicy,
    feed: Arc<Feed>,
    exports: Arc<Exports>,
    shutdown: CancellationToken,
}

impl Api {
    #[expect(clippy::too_many_arguments, reason = "it is called once, and each is another thing")]
    pub(crate) fn new(
        read: PgPool,
        reports: PgPool,
        consistency: Consistency,
        invoices: InvoiceStore,
        clock: Clock,
        policy: ReturnPolicy,
        feed: Arc<Feed>,
        exports: Arc<Exports>,
        shutdown: CancellationToken,
    ) -> Self {
        let orders = DataLoader::new(read.clone(), store::orders);
        let returns = DataLoader::new(read.clone(), store::returns);
        let refunds = DataLoader::new(read.clone(), store::refunds);
        Self { read, reports, orders, returns, refunds, consistency, invoices, clock, policy, feed, exports, shutdown }
    }

    /// What this caller is shown.
    fn shown<'c>(&self, caller: &'c Caller) -> Shown<'c> {
        Shown { policy: self.policy, now: self.clock.now(), caller }
    }

    /// Waits for the versions that the request asks for by its consistency tokens.
    async fn wait_for(&self, headers: &HeaderMap, parameter: Option<&str>, scope: Scope) -> Result<(), ApiError> {
        self.consistency.wait_for(headers, parameter, scope).await
    }
}

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    let routes = OpenApiRouter::new()
        .routes(routes!(orders::list_orders))
        .routes(routes!(orders::get_order))
        .routes(routes!(orders::get_order_history))
        .routes(routes!(pdf::get_order_invoice))
        .routes(routes!(e_invoice::get_order_e_invoice))
        .routes(routes!(returns::list_returns))
        .routes(routes!(returns::get_return))
        .routes(routes!(returns::get_return_history))
        .routes(routes!(pdf::get_return_credit_note))
        .routes(routes!(e_invoice::get_return_e_invoice))
        .routes(routes!(refunds::list_refunds))
        .routes(routes!(refunds::get_refund))
        .routes(routes!(refunds::get_refund_history))
        .routes(routes!(pdf::get_refund_credit_note))
        .routes(routes!(e_invoice::get_refund_e_invoice))
        .routes(routes!(events::list_events))
        .routes(routes!(issued::list_invoices))
        .routes(routes!(issued::list_credit_notes))
        .merge(exports::routes())
        .merge(reports::routes());
    OpenApiRouter::new().nest("/api/v1", routes)
}

/// Adds what all reads do to the routes.
pub(crate) fn with_tags(routes: Router) -> Router {
    routes.layer(from_fn(etags::tag))
}

pub(crate) use etags::describe as describe_tags;

/// The routes that need no credentials.
pub(crate) fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().nest("/api/v1", exports::open_routes())
}

/// The query parameters of a read of one order, return or refund.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConsistencyParam {
    /// Consistency tokens, as the commands answered them in `X-Consistency-Token`, separated by commas, at most 20. The header of that name
    /// means the same. The response shows at least these versions.
    consistency: Option<String>,
}

/// What may be shown inside a document beside what is always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Expand {
    History,
}

/// The query parameters of a read of one order or return.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReadParams {
    /// `history` shows all state changes inside the document.
    #[param(inline)]
    expand: Option<Expand>,
    /// Consistency tokens, as the commands answered them in `X-Consistency-Token`, separated by commas, at most 20. The header of that name
    /// means the same. The response shows at least these versions.
    consistency: Option<String>,
}

impl ReadParams {
    /// Waits for the versions that the request asks for, and reads the history if it asks for it.
    async fn history(
        &self,
        api: &Api,
        caller: &Caller,
        headers: &HeaderMap,
        kind: EntityType,
        id: Uuid,
    ) -> Result<Option<Vec<String>>, ApiError> {
        api.wait_for(headers, self.consistency.as_deref(), Scope::Documents).await?;
        if self.expand.is_none() {
            return Ok(None);
        }
        if !caller.may("GET", &format!("/api/v1/{kind}s/{{id}}/history")) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "this role sees no history; leave expand out",
            ));
        }
        api.wait_for(headers, self.consistency.as_deref(), Scope::History).await?;
        Ok(Some(store::history(&api.read, kind, id).await?))
    }
}

/// Ids in a path. One that is no UUID is of nothing.
macro_rules! ids_in_path {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        struct $name(Uuid);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                uuid_in_path(parts, state).await.map(Self).ok_or_else(|| {
                    ApiError::not_found($code, concat!("there is no ", $what, " with this id: it is not a UUID"))
                })
            }
        }

        impl $name {
            fn not_found(self) -> ApiError {
                ApiError::not_found($code, format!(concat!("there is no ", $what, " {}"), self.0))
            }
        }
    )*};
}

ids_in_path! {
    /// The id of an order in the path.
    OrderId, "ORDER_NOT_FOUND", "order";
    /// The id of a return in the path.
    ReturnId, "RETURN_NOT_FOUND", "return";
    /// The id of a refund in the path.
    RefundId, "REFUND_NOT_FOUND", "refund";
    /// The id of an export in the path.
    ExportId, "EXPORT_NOT_FOUND", "export";
}

async fn uuid_in_path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Option<Uuid> {
    let Path(id) = Path::<String>::from_request_parts(parts, state).await.ok()?;
    Uuid::try_parse(&id).ok()
}
